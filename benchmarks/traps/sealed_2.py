"""Sealed cases: groups, text, which file is the image, annotations that are not recognized, broken files."""

import hashlib
import unicodedata
from dataclasses import replace
from pathlib import Path

from PIL import Image

from .cases import Case, Expected, both
from .draw import Scene, Thing, boxes, figures, streets
from .facts import of_boxes, of_figures, of_masks
from .forms import class_folders, coco, coco_part, image, mask_part, text, voc

SHELF = ("bottle", "can")
SHELVES = boxes("text_ids", "shelf", SHELF, 22)
# Composed, as Windows and Linux write it; macOS used to decompose the names of files.
BEETLE = unicodedata.normalize("NFC", "Käfer")
INSECTS = figures("two_forms_of_accent", ("Biene", BEETLE), 16)
ROOMS = figures("nas_thumbnails", ("bath", "kitchen"), 12, size=64)
YARD = ("cat", "dog")
YARDS = boxes("mit_labelme", "lawn", YARD, 20)
RIVER = ("bank", "water", "boat")
RIVERS = streets("lfs_pointers", "river", 24)


def case_text_ids(folder: Path, twin: bool) -> None:
    """The trap: `image_id` is text, and the `id` of a picture a number, so that no object finds its picture."""
    for part, scenes in (("train", SHELVES[:16]), ("val", SHELVES[16:])):
        table = coco(scenes, SHELF)
        for found in table["annotations"]:
            found["image_id"] = found["image_id"] if twin else str(found["image_id"])
        coco_part(folder, part, scenes, table)


def case_two_forms_of_accent(folder: Path, twin: bool) -> None:
    """The trap: the same class is composed in `train` and decomposed in `val`: two names that look alike."""
    for part, chosen in (("train", slice(0, 12)), ("val", slice(12, None))):
        form = "NFC" if twin or part == "train" else "NFD"
        found = {unicodedata.normalize(form, label): scenes[chosen] for label, scenes in INSECTS.items()}
        for label, scenes in found.items():
            # The pictures' own names are plain, so that the folders are the only trap.
            plain = [Scene(f"{part}_{label[0]}_{at:02d}", scene.picture) for at, scene in enumerate(scenes)]
            class_folders(folder / part, {label: plain})


def case_nas_thumbnails(folder: Path, twin: bool) -> None:
    """The trap: a Synology NAS keeps thumbnails as NAME/SYNOPHOTO_THUMB_M.jpg below @eaDir, in every folder."""
    class_folders(folder, ROOMS)
    if twin:
        return
    # One picture in the folder itself (an overview) would be a second trap; its thumbnail's folder is left behind.
    thumbs = [(folder / "@eaDir" / "overview.png", ROOMS["bath"][0])]
    thumbs += [(folder / label / "@eaDir" / f"{s.name}.png", s) for label, scenes in ROOMS.items() for s in scenes]
    for place, scene in thumbs:
        small = Image.fromarray(scene.picture).resize((32, 32))
        place.mkdir(parents=True)
        small.save(place / "SYNOPHOTO_THUMB_M.jpg", quality=85)


def polygon(number: int, thing: Thing) -> str:
    """An object of the LabelMe of MIT's web site: a polygon, here of the four corners."""
    x0, y0, x1, y1 = thing.corners
    corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in corners)
    about = f"<id>{number}</id><parts><hasparts></hasparts><ispartof></ispartof></parts><attributes></attributes>"
    return (
        f"<object><name>{thing.label}</name><deleted>0</deleted><verified>0</verified><occluded>no</occluded>{about}"
        f"<date>12-Mar-2016 10:21:05</date><polygon><username>anonymous</username>{points}</polygon></object>"
    )


def case_mit_labelme(folder: Path, twin: bool) -> None:
    """The trap: <annotation> and <object> as in VOC, but polygons in place of <bndbox>."""
    for scene in YARDS:
        image(folder / f"{scene.name}.jpg", scene.picture)
        if twin:
            voc(folder / f"{scene.name}.xml", scene)
            continue
        head = f"<filename>{scene.name}.jpg</filename><folder>lawns</folder>"
        head += "<source><sourceImage>The MIT-CSAIL database</sourceImage></source>"
        size = f"<imagesize><nrows>{scene.height}</nrows><ncols>{scene.width}</ncols></imagesize>"
        objects = "".join(polygon(number, thing) for number, thing in enumerate(scene.things))
        text(folder / f"{scene.name}.xml", f"<annotation>{head}{objects}{size}</annotation>\n")


def case_lfs_pointers(folder: Path, twin: bool) -> None:
    """The trap: three pictures of `train` are Git LFS's pointers, small text files, as `git lfs pull` stopped."""
    text(folder / "classes.txt", "\n".join(RIVER) + "\n")
    for part, scenes in (("train", RIVERS[:18]), ("val", RIVERS[18:])):
        mask_part(folder, part, scenes, [scene.mask for scene in scenes])
    for number in () if twin else (4, 9, 15):
        path = folder / "train" / f"river_{number:02d}.png"
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        text(path, f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n")


INSECT_FACTS = replace(of_figures(INSECTS), train=24, held_out=8)

CASES = [
    Case(
        "text_ids", "groups", "detect", False,
        "A script that made COCO's JSON from a table (CSV) read the pictures' numbers there as text.",
        case_text_ids,
        **both(
            of_boxes(SHELVES[:16], SHELVES[16:], SHELF), "read_or_refuse", ("image_id|image id|id", "train.json|train")
        ),
    ),
    Case(
        "two_forms_of_accent", "text", "classify", False,
        "train was made on Windows, val on a Mac, whose zip holds the name of the folder in decomposed letters.",
        case_two_forms_of_accent, **both(INSECT_FACTS, "read_or_refuse", ("fer", "val|train")),
    ),
    Case(
        "nas_thumbnails", "which file", "classify", False,
        "Class folders were copied from a Synology NAS together with its hidden folders of thumbnails.",
        case_nas_thumbnails, **both(of_figures(ROOMS), "read_or_refuse", ("@eadir",)),
    ),
    Case(
        "mit_labelme", "unrecognized", "detect", False,
        "Polygons of MIT's LabelMe web site, whose XML files look like those of Pascal VOC.",
        case_mit_labelme,
        **both(of_boxes(YARDS, [], YARD), "read_or_refuse", ("bndbox|polygon|without a box|no box", "lawn_|.xml")),
    ),
    Case(
        "lfs_pointers", "broken", "segment", False,
        "A repository with Git LFS was cloned, and the download of the large files stopped before the end.",
        case_lfs_pointers,
        trap=Expected("refuse", words=("river_04", "skip|lfs"), lint=("river_04", "river_09", "river_15")),
        twin=of_masks(RIVERS[:18], RIVERS[18:], RIVER),
    ),
]  # fmt: skip
