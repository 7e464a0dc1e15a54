"""Sealed cases: masks, pixels, parts, lines."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from .cases import Case, Expected, both
from .draw import boxes, faces, figures, streets
from .facts import of_boxes, of_figures, of_masks, of_points
from .forms import class_folders, coco, coco_part, image, mask_part, text, yolo_part

FARM = ("background", "field", "barn")
FARMS = streets("cvat_colour_masks", "farm", 22)
# CVAT's colours: the luminance of none of them is a class index.
FARM_COLOURS = np.array([(0, 0, 0), (52, 209, 183), (250, 50, 83)], np.uint8)
GRAINS = figures("eight_bits_in_sixteen", ("coarse", "fine"), 12)
PLATES = figures("parts_inside_classes", ("cracked", "good"), 16)
WEED = ("crop", "weed")
WEEDS = boxes("ids_from_one", "row", WEED, 22)
EARS = ("eye_left", "eye_right", "mouth", "nose", "ear_left", "ear_right")
LOOKS = faces("points_without_visibility", "look", 22, points=6)


def case_cvat_colour_masks(folder: Path, twin: bool) -> None:
    """The trap: masks are RGB pictures, and labelmap.txt says which colour is which class."""
    text(folder / "classes.txt", "\n".join(FARM) + "\n")
    if not twin:
        rows = [f"{name}:{','.join(map(str, rgb))}::" for name, rgb in zip(FARM, FARM_COLOURS.tolist(), strict=True)]
        text(folder / "labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", *rows]) + "\n")
    for part, scenes in (("train", FARMS[:16]), ("val", FARMS[16:])):
        mask_part(folder, part, scenes, [s.mask if twin else FARM_COLOURS[s.mask] for s in scenes])


def spotted(pixels: np.ndarray) -> np.ndarray:
    """Grey values with one saturated spot and one of 0, so that the range of 8 bits is used in every picture."""
    grey = pixels[..., 0].copy()
    grey[1:3, 1:3], grey[4:6, 1:3] = 255, 0
    return grey


def case_eight_bits_in_sixteen(folder: Path, twin: bool) -> None:
    """The trap: 0 to 255 in a file of 16 bits."""
    for label, scenes in GRAINS.items():
        for scene in scenes:
            grey = spotted(scene.picture)
            image(folder / label / f"{scene.name}.png", grey if twin else grey.astype(np.uint16))


def case_parts_inside_classes(folder: Path, twin: bool) -> None:
    """The trap: CLASS/train and CLASS/test in place of train/CLASS and test/CLASS."""
    for part, chosen in (("train", slice(0, 12)), ("test", slice(12, None))):
        for label, scenes in PLATES.items():
            where, name = (folder / part, label) if twin else (folder / label, part)
            class_folders(where, {name: scenes[chosen]})


def case_ids_from_one(folder: Path, twin: bool) -> None:
    """The trap: classes are numbered from 1, so that 2 has no name and 0 never occurs."""
    text(folder / "classes.txt", "\n".join(WEED) + "\n")
    for part, scenes in (("train", WEEDS[:16]), ("val", WEEDS[16:])):
        yolo_part(folder / "images" / part, folder / "labels" / part, scenes, WEED, 0 if twin else 1)


def case_points_without_visibility(folder: Path, twin: bool) -> None:
    """The trap: x and y only. 12 numbers are 6 points so, and would be 4 with visibility."""
    for part, scenes in (("train", LOOKS[:16]), ("val", LOOKS[16:])):
        table = coco(scenes, ("face",), EARS)
        for found in table["annotations"]:
            values = found["keypoints"]
            found["keypoints"] = values if twin else [value for at, value in enumerate(values) if at % 3 < 2]
        coco_part(folder, part, scenes, table)


GRAIN_CHECKS = tuple(
    ("brightness", f"{scene.name}.png", round(float(spotted(scene.picture).mean() / 255), 4))
    for scene in (GRAINS["coarse"][2], GRAINS["fine"][7])
)
PLATE_FACTS = replace(of_figures(PLATES), train=24, held_out=8)

CASES = [
    Case(
        "cvat_colour_masks", "masks", "segment", False,
        "CVAT's export of segmentation masks has colours and a labelmap.txt; its user sorted it into folders.",
        case_cvat_colour_masks,
        **both(
            of_masks(FARMS[:16], FARMS[16:], FARM), "read_or_refuse",
            ("annot|farm_|mask", "rgb|colour|color|channel|grey|gray|palette"),
        ),
    ),
    Case(
        "eight_bits_in_sixteen", "pixels", "classify", False,
        "MATLAB's imwrite(uint16(picture)) of an 8-bit picture keeps the values, so that viewers show black.",
        case_eight_bits_in_sixteen, **both(replace(of_figures(GRAINS), checks=GRAIN_CHECKS), "read"),
    ),
    Case(
        "parts_inside_classes", "parts", "classify", False,
        "Someone divided each class's folder into train and test, so the parts are below the classes.",
        case_parts_inside_classes, **both(PLATE_FACTS, "read_or_refuse", ("train|test", "cracked|good")),
    ),
    Case(
        "ids_from_one", "lines", "detect", False,
        "A script that turned a table into YOLO's lines kept its numbers of the classes, which begin with 1.",
        case_ids_from_one,
        trap=Expected("refuse", words=(".txt|row_|label", "class 2|index 2|number 2|'2'| 2", "class|name|from 0")),
        twin=of_boxes(WEEDS[:16], WEEDS[16:], WEED),
    ),
    Case(
        "points_without_visibility", "lines", "keypoints", False,
        "Points of a CSV file were written into COCO's JSON as x, y pairs, without the visibility that COCO wants.",
        case_points_without_visibility,
        **both(
            of_points(LOOKS[:16], LOOKS[16:]), "read_or_refuse",
            ("train.json|val.json|look_", "keypoint|key-point|point", "12|18|visib|x, y"),
        ),
    ),
]  # fmt: skip
