"""Resolve the class, or the pixels, of a `--target` argument."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.explain.target import Region
    from pellucid.model import Model


def known_classes(model: "Model") -> tuple[str, ...]:
    """Return the class names of a classifier or segmentation model; raises PellucidError for any other model."""
    from pellucid.tasks.pictures import class_names
    from pellucid.tasks.segment.segmenter import is_segmenter

    if is_segmenter(model):
        return tuple(model.classes or map(str, range(model.output_shape[0])))
    return class_names(model)


def pixels_named(model: "Model", x: "Tensor", target: str | None) -> "Region | None":
    """Return the region of the segmentation of x that `--target` names: CLASS, or CLASS[ROWS, COLUMNS].

    Returns None for a target such as LAYER[3] that names no class. x: the image (C, H, W). target: None selects the
    class with the most pixels.
    """
    from pellucid.tasks.segment.explained import region

    classes = known_classes(model)
    name, bracket, place = (target or "").partition("[")
    if bracket and name not in classes and not name.isdecimal():
        return None
    unit_hint = ", and a unit is written 'layer[3]'"
    label = None if target is None else class_number(name, classes, unit_hint)
    return region(model, x, label, (place.removesuffix("]") or " ") if bracket else "")


def class_number(target: str, classes: Sequence[str], besides: str = "") -> int:
    """Return the index of the class with this name or index; besides: text appended to the error message."""
    from pellucid.errors import PellucidError, nearest

    if target in classes:
        return classes.index(target)
    if target.isdecimal() and int(target) < len(classes):
        return int(target)
    hint = ("" if target.isdecimal() else nearest(target, classes)) or f"; its classes are {', '.join(classes):.80}"
    raise PellucidError(f"--target: the model has no class {target!r}{hint}{besides}")
