"""Open cases: the parts of a data set."""

from dataclasses import replace
from pathlib import Path

from .cases import Case, Expected, both
from .draw import Scene, boxes, figures
from .facts import of_boxes, of_figures
from .forms import class_folders, image, text, voc, yolo_part

HARDWARE = ("bolt", "nut")
HARDWARES = boxes("roboflow_valid", "part", HARDWARE, 22)
TRAFFIC = ("bus", "car")
TRAFFICS = boxes("voc_trainval", "road", TRAFFIC, 24)
PETS = figures("kaggle_flat_test", ("cat", "dog"), 17)
BLOOD = figures("folder_in_itself", ("parasitized", "uninfected"), 12)


def case_roboflow_valid(folder: Path, twin: bool) -> None:
    """The trap: `valid` in place of `val`, below which are images and labels, and paths that begin with `../`."""
    names = f"nc: 2\nnames: ['{HARDWARE[0]}', '{HARDWARE[1]}']\n"
    paths = "train: images/train\nval: images/val\n" if twin else "train: ../train/images\nval: ../valid/images\n"
    text(folder / "data.yaml", paths + names)
    for part, scenes in (("train", HARDWARES[:16]), ("val", HARDWARES[16:])):
        ours = folder / "images" / part, folder / "labels" / part
        theirs = folder / part.replace("val", "valid")
        yolo_part(*(ours if twin else (theirs / "images", theirs / "labels")), scenes, HARDWARE)


def case_voc_trainval(folder: Path, twin: bool) -> None:
    """The trap: lists of other names than train and val, the two lists of VOC 2007 that most papers use."""
    for scene in TRAFFICS:
        image(folder / "JPEGImages" / f"{scene.name}.jpg", scene.picture)
        voc(folder / "Annotations" / f"{scene.name}.xml", scene)
    for part, scenes in (("train", TRAFFICS[:16]), ("val", TRAFFICS[16:])):
        name = part if twin else {"train": "trainval", "val": "test"}[part]
        text(folder / "ImageSets" / "Main" / f"{name}.txt", "".join(f"{scene.name}\n" for scene in scenes))


def case_kaggle_flat_test(folder: Path, twin: bool) -> None:
    """The trap: the pictures of `test` are in no class, as a competition hides their classes."""
    class_folders(folder / "train", {label: scenes[:12] for label, scenes in PETS.items()})
    if twin:
        class_folders(folder / "test", {label: scenes[12:] for label, scenes in PETS.items()})
        return
    for number, scene in enumerate(PETS["dog"][12:] + PETS["cat"][12:], 1):
        image(folder / "test" / f"{number}.png", scene.picture)


def case_folder_in_itself(folder: Path, twin: bool) -> None:
    """The trap: the folder `cell_images` with all pictures once more, which looks like a third class."""
    class_folders(folder, BLOOD)
    if not twin:
        class_folders(folder / "cell_images", BLOOD)


def shares(found: dict[str, list[Scene]], train: int) -> Expected:
    """The twin's facts, where the first pictures of each class are for training."""
    facts = of_figures(found)
    used = train * len(found)
    return replace(facts, train=used, held_out=facts.total - used)


# Of the trap, only `train` can be used: 12 of each class, from which the library draws its own part.
PET_TRAP = Expected(
    "read_or_refuse", total=24, classes=("cat", "dog"), class_counts={"cat": 12, "dog": 12}, words=("test",),
    lint=("test",),
)  # fmt: skip

CASES = [
    Case(
        "roboflow_valid", "parts", "detect", False,
        "Roboflow's export for YOLO: train/images, train/labels, valid/images, valid/labels, and its data.yaml.",
        case_roboflow_valid, **both(of_boxes(HARDWARES[:16], HARDWARES[16:], HARDWARE), "read"),
    ),
    Case(
        "voc_trainval", "parts", "detect", False,
        "A set in the form of VOC 2007, whose lists are trainval.txt and test.txt; test must not be trained on.",
        case_voc_trainval, **both(of_boxes(TRAFFICS[:16], TRAFFICS[16:], TRAFFIC), "read"),
    ),
    Case(
        "kaggle_flat_test", "parts", "classify", False,
        "A download of a competition: train/CLASS/, and test/ with pictures whose classes nobody is to know.",
        case_kaggle_flat_test, trap=PET_TRAP, twin=shares(PETS, 12),
    ),
    Case(
        "folder_in_itself", "parts", "classify", False,
        "Kaggle's malaria download has the whole folder cell_images a second time inside itself.",
        case_folder_in_itself, **both(of_figures(BLOOD), "read_or_refuse", ("cell_images",)),
    ),
]  # fmt: skip
