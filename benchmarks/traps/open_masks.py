"""Open cases: folders of masks."""

from pathlib import Path

import numpy as np
from PIL import Image

from .cases import Case, Expected, both
from .draw import Scene, figures, streets
from .facts import of_masks
from .forms import mask_part, text

# Leaves: the mask is 1 where the leaf is.
LEAF = ("background", "leaf")
LEAVES = figures("soft_edges", ("leaf",), 22)["leaf"]
# Streets of a MATLAB user; scenes with three classes, each of which is in every picture.
STREET = ("sky", "road", "car")
STREETS = streets("labels_from_one", "street", 22)
# People and dogs; the classes of labelme, without its `__ignore__`.
YARD = ("_background_", "person", "dog")
YARDS = streets("labelme_labels_list", "yard", 22)


def softened(mask: np.ndarray) -> np.ndarray:
    """0 and 255 with grey edges, as after a resize with smoothing: halved and doubled again."""
    height, width = mask.shape
    small = Image.fromarray(mask * np.uint8(255)).resize((width // 2, height // 2), Image.Resampling.BILINEAR)
    return np.array(small.resize((width, height), Image.Resampling.BICUBIC))


def case_soft_edges(folder: Path, twin: bool) -> None:
    """The trap: values between 0 and 255 at the edges."""
    text(folder / "classes.txt", "background\nleaf\n")
    for part, scenes in (("train", LEAVES[:16]), ("val", LEAVES[16:])):
        mask_part(folder, part, scenes, [s.mask if twin else softened(s.mask) for s in scenes])


def case_labels_from_one(folder: Path, twin: bool) -> None:
    """The trap: the first class of classes.txt is 1. So 3, the last one, looks like the value of no class."""
    text(folder / "classes.txt", "\n".join(STREET) + "\n")
    for part, scenes in (("train", STREETS[:16]), ("val", STREETS[16:])):
        mask_part(folder, part, scenes, [s.mask + np.uint8(0 if twin else 1) for s in scenes])


def with_ignored(mask: np.ndarray) -> np.ndarray:
    """The lowest three rows are 255: of no class."""
    return np.where(np.arange(mask.shape[0])[:, None] >= mask.shape[0] - 3, 255, mask).astype(np.uint8)


def case_labelme_labels_list(folder: Path, twin: bool) -> None:
    """The trap: the line `__ignore__`, which is no class (labelme gives it -1, in the masks 255), is first."""
    text(folder / "classes.txt", "\n".join(YARD if twin else ("__ignore__", *YARD)) + "\n")
    for part, scenes in (("train", YARDS[:16]), ("val", YARDS[16:])):
        mask_part(folder, part, scenes, [with_ignored(s.mask) for s in scenes])


def yard_facts() -> Expected:
    """The facts without the lowest rows, which are of class 1 in every picture before they are of none."""
    left = [Scene(s.name, s.picture, mask=with_ignored(s.mask)) for s in YARDS]
    return of_masks(left[:16], left[16:], YARD)


CASES = [
    Case(
        "soft_edges", "masks", "segment", False,
        "Masks of 0 and 255 were resized with smoothing in an image editor, so that the edges are grey.",
        case_soft_edges,
        **both(of_masks(LEAVES[:16], LEAVES[16:], LEAF), "read_or_refuse", ("annot|leaf_", "255|value")),
    ),
    Case(
        "labels_from_one", "masks", "segment", False,
        "MATLAB's pixelLabelDatastore numbers classes from 1, and its user lists the names in a classes.txt.",
        case_labels_from_one,
        **both(
            of_masks(STREETS[:16], STREETS[16:], STREET), "read_or_refuse",
            ("sky|never|from 1|from 0|starts at", "annot|classes.txt|mask"),
        ),
    ),
    Case(
        "labelme_labels_list", "masks", "segment", False,
        "The labels.txt that labelme's export script wants, with `__ignore__` first, was copied to classes.txt.",
        case_labelme_labels_list,
        **both(yard_facts(), "read_or_refuse", ("__ignore__|dog", "classes.txt|never")),
    ),
]  # fmt: skip
