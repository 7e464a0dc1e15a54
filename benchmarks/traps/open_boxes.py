"""Open cases: groups, text, which file is the image, annotations that are not recognized, files that are missing."""

import math
from dataclasses import replace
from pathlib import Path

from .cases import Case, Expected, both
from .draw import Thing, boxes
from .facts import of_boxes
from .forms import coco, coco_part, image, labelme, shape, text, voc, voc_object, yolo_part

CAR = ("bus", "car")
GROUPED = boxes("group_zero", "crossing", CAR, 20)
FRUIT = ("apple", "pear")
MERGED = boxes("merged_exports", "tree", FRUIT, 30)
OBST = ("Äpfel", "Birnen")
NOTES = boxes("powershell_utf16", "obst", OBST, 22)
LAMP = ("off", "on")
LAMPS = boxes("off_and_on", "lamp", LAMP, 22)
BIRD = ("crow", "owl")
RENAMED = boxes("renamed_pairs", "frame", BIRD, 20)
BOAT = ("barge", "ferry")
ROTATED = boxes("rotated_boxes", "aerial", BOAT, 20)
TOOL = ("drill", "saw")
DELETED = boxes("deleted_image", "photo", TOOL, 26)


def halves(thing: Thing) -> list[list[list[int]]]:
    """Two polygons, left and right of a post of two pixels in front of the object."""
    middle = (thing.x0 + thing.x1) // 2
    spans = ((thing.x0, middle - 1), (middle + 1, thing.x1))
    return [[[x0, thing.y0], [x1, thing.y0], [x1, thing.y1], [x0, thing.y1]] for x0, x1 in spans]


def case_group_zero(folder: Path, twin: bool) -> None:
    """The trap: the first group of each picture is 0, which many programs take for none."""
    for scene in GROUPED:
        groups = enumerate(scene.things, 1 if twin else 0)
        parts = [shape(thing.label, half, "polygon", group) for group, thing in groups for half in halves(thing)]
        labelme(folder, scene, parts)


def case_merged_exports(folder: Path, twin: bool) -> None:
    """The trap: two exports, each numbered from 1, in one file. Nothing says whose picture 3 an object is on."""
    train, val = MERGED[:24], MERGED[24:]
    first, second = coco(train[:12], FRUIT), coco(train[12:], FRUIT)
    if twin:
        merged = coco(train, FRUIT)
    else:
        merged = first | {key: first[key] + second[key] for key in ("images", "annotations")}
    coco_part(folder, "train", train, merged)
    coco_part(folder, "val", val, coco(val, FRUIT))


def case_powershell_utf16(folder: Path, twin: bool) -> None:
    """The trap: classes.txt in UTF-16, with a byte-order mark and Windows' line ends."""
    names = "\n".join(OBST) + "\n"
    if twin:
        text(folder / "classes.txt", names)
    else:
        text(folder / "classes.txt", "\ufeff" + names.replace("\n", "\r\n"), "utf-16-le")
    for part, scenes in (("train", NOTES[:16]), ("val", NOTES[16:])):
        yolo_part(folder / "images" / part, folder / "labels" / part, scenes, OBST)


def case_off_and_on(folder: Path, twin: bool) -> None:
    """The trap: without quotation marks, YAML 1.1 reads off and on as no and yes: as False and True."""
    names = "['off', 'on']" if twin else "[off, on]"
    text(folder / "data.yaml", f"train: images/train\nval: images/val\nnc: 2\nnames: {names}\n")
    for part, scenes in (("train", LAMPS[:16]), ("val", LAMPS[16:])):
        yolo_part(folder / "images" / part, folder / "labels" / part, scenes, LAMP)


def case_renamed_pairs(folder: Path, twin: bool) -> None:
    """The trap: <filename> is the name from before the pairs were renamed, which is now another picture's."""
    for scene, before in zip(RENAMED, reversed(RENAMED), strict=True):
        image(folder / f"{scene.name}.jpg", scene.picture)
        voc(folder / f"{scene.name}.xml", scene, f"{(scene if twin else before).name}.jpg")


def upright(thing: Thing, angle: float) -> tuple[float, float]:
    """Width and height of the rectangle that has this upright box when it is turned by `angle`."""
    wide, high = thing.x1 - thing.x0, thing.y1 - thing.y0
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    scale = cos * cos - sin * sin
    return (wide * cos - high * sin) / scale, (high * cos - wide * sin) / scale


def turned(thing: Thing) -> str:
    """roLabelImg's shape: centre, size and angle."""
    angle = 0.2
    wide, high = upright(thing, angle)
    values = {"cx": (thing.x0 + thing.x1) / 2, "cy": (thing.y0 + thing.y1) / 2, "w": wide, "h": high, "angle": angle}
    inside = "".join(f"\n\t\t\t<{key}>{value:.4f}</{key}>" for key, value in values.items())
    return f"<robndbox>{inside}\n\t\t</robndbox>"


def case_rotated_boxes(folder: Path, twin: bool) -> None:
    """The trap: <robndbox> in place of <bndbox>, so that a reader of VOC finds objects without a box."""
    for scene in ROTATED:
        objects = [voc_object(thing, None if twin else turned(thing)) for thing in scene.things]
        image(folder / f"{scene.name}.jpg", scene.picture)
        voc(folder / f"{scene.name}.xml", scene, objects=objects)


def case_deleted_image(folder: Path, twin: bool) -> None:
    """The trap: one picture of train.json is not there."""
    for part, scenes in (("train", DELETED[:20]), ("val", DELETED[20:])):
        coco_part(folder, part, scenes, coco(scenes, TOOL))
    if not twin:
        (folder / "train" / "photo_07.jpg").unlink()


GROUP_FACTS = of_boxes(GROUPED, [], CAR)
GROUP_FACTS = replace(GROUP_FACTS, checks=(*GROUP_FACTS.checks, ("objects", "crossing_04.jpg", 2)))

CASES = [
    Case(
        "group_zero", "groups", "detect", False,
        "Cars behind posts were drawn in labelme as two polygons of one group; the user counts groups from 0.",
        case_group_zero, **both(GROUP_FACTS, "read"),
    ),
    Case(
        "merged_exports", "groups", "detect", False,
        "Two COCO files from two annotators, each numbered from 1, were joined by putting their lists together.",
        case_merged_exports,
        trap=Expected("refuse", words=("train", "id", "twice|duplicat|more than|same|two|uniq|repeat|several")),
        twin=of_boxes(MERGED[:24], MERGED[24:], FRUIT),
    ),
    Case(
        "powershell_utf16", "text", "detect", True,
        "classes.txt was written by `>` in Windows PowerShell 5, which writes UTF-16.",
        case_powershell_utf16, **both(of_boxes(NOTES[:16], NOTES[16:], OBST), "read"),
    ),
    Case(
        "off_and_on", "text", "detect", False,
        "The classes of lamps, off and on, were typed into data.yaml without quotation marks.",
        case_off_and_on, **both(of_boxes(LAMPS[:16], LAMPS[16:], LAMP), "read"),
    ),
    Case(
        "renamed_pairs", "which file", "detect", False,
        "Pictures and XML files were renamed together, newest first; <filename> inside still has the old names.",
        case_renamed_pairs, **both(of_boxes(RENAMED, [], BIRD), "read_or_refuse", ("frame_", "filename|name")),
    ),
    Case(
        "rotated_boxes", "unrecognized", "detect", False,
        "Ships from above were marked with roLabelImg, whose XML is VOC's but for the turned boxes.",
        case_rotated_boxes,
        **both(of_boxes(ROTATED, [], BOAT), "read_or_refuse", ("bndbox|rotat|without a box|no box", "aerial_|.xml")),
    ),
    Case(
        "deleted_image", "broken", "detect", True,
        "A blurred photo was deleted from the folder after the annotations had been exported.",
        case_deleted_image,
        trap=Expected("refuse", words=("photo_07", "skip"), lint=("photo_07",)),
        twin=of_boxes(DELETED[:20], DELETED[20:], TOOL),
    ),
]  # fmt: skip
