"""Targets for explanations and traces of a segmentation: a class at a pixel, in a region, or where it is predicted."""

import re
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.explain.names import target_text
from pellucid.explain.target import Region
from pellucid.layers.base import Mode
from pellucid.model import Model
from pellucid.objective import Supervised
from pellucid.task import Example
from pellucid.task.score_to_explain import Area, ScoreToExplain, index_of
from pellucid.tasks.classify.explained import UNIT_HINT, class_index
from pellucid.tasks.segment.segmenter import classes_of

RANGE_PATTERN = re.compile(r"\s*(?:(?P<at>\d{1,9})|(?P<start>\d{1,9})?\s*:\s*(?P<stop>\d{1,9})?)\s*")


def region_of_class(model: Model, x: Tensor, label: int | None = None, window: str = "") -> Region:
    """Return as target the mean score of a class over pixels of one image x (C, H, W) with values 0 to 1.

    label: the class index; None for the class that is predicted at the most pixels. window: rows and columns, "120,
    200" for one pixel, "90:100, 120:" for a region; "" for the pixels where the class is predicted. Raises
    PellucidError for a window outside the image, and without a window for a class that is not predicted at any pixel.
    """
    predicted = model.predict(x[None])[0].argmax(0)  # (H, W)
    label = int(predicted.flatten().bincount().argmax()) if label is None else label
    if window:
        is_in_region = torch.zeros_like(predicted, dtype=torch.bool)
        is_in_region[_parse_window(window, (predicted.shape[0], predicted.shape[1]))] = True
        description = f"[{window.strip()}]"
    else:
        is_in_region = predicted == label
        description = f"where it is predicted, {plural(int(is_in_region.sum()), 'pixel')}"
        if not bool(is_in_region.any()):
            raise PellucidError(
                f"no pixel is predicted as class {label}; give a pixel or a region, as in '{label}[120, 200]'"
            )
    return Region(torch.tensor([label]), is_in_region[None] / is_in_region.sum(), description)


def named_region(model: Model, x: Tensor, target: str | None) -> Region | None:
    """Return the region of an image x (C, H, W) for a target CLASS or CLASS[ROWS, COLUMNS]; see `region_of_class`.

    target: None selects the class that is predicted at the most pixels. Returns None for a target that does not begin
    with a class, such as LAYER[3].
    """
    classes = classes_of(model)
    name, bracket, window = (target or "").partition("[")
    if bracket and name not in classes and not name.isdecimal():
        return None
    label = None if target is None else class_index(name, classes, UNIT_HINT)
    return region_of_class(model, x, label, (window.removesuffix("]") or " ") if bracket else "")


def example(model: Model, x: Tensor, target: str | None) -> Example:
    """Return an image x (C, H, W) and the predicted classes of the pixels selected by `target`, by default of all.

    The loss of the returned model counts only these pixels. Raises PellucidError for a target without a class.
    """
    pixels = None if target is None else named_region(model, x, target)
    if target is not None and pixels is None:
        class_index(target.partition("[")[0], classes_of(model))  # raises PellucidError
    label = "of each pixel" if pixels is None else target_text(pixels, classes_of(model))
    new_model, targets = restrict_loss(model, x, pixels)
    return Example(new_model, x, targets, label)


def restrict_loss(model: Model, x: Tensor, target: Region | None) -> tuple[Model, Tensor]:
    """Return a model whose loss counts only the pixels of a region, and targets (1, H, W) for it.

    target: the region; None for all pixels with their predicted classes, and the unchanged model. The new model shares
    the weights. Raises PellucidError for a loss that cannot ignore pixels.
    """
    if target is None:
        return model, model.predict(x[None]).argmax(1)
    loss: Any = model.loss
    if not hasattr(loss, "ignore"):
        raise PellucidError(f"the loss {type(loss).__name__} has no `ignore` and so counts all pixels; omit the class")
    ignored = -1 if loss.ignore is None else loss.ignore
    new_model = copy(model)
    new_model.objective = Supervised(model.net, replace(loss, ignore=ignored))
    return new_model, torch.where(target.weights > 0, target.classes[:, None, None], ignored)


def pixels_to_explain(model: Model, x: Tensor, choice: str | None, area: Area | None) -> ScoreToExplain:
    """Return the mean score of a class over the pixels of an area; see `Task.score_to_explain`.

    choice: the name of the class, by default the class that is predicted at the most of these pixels. Without an area,
    the pixels are those where the class is predicted.
    """
    classes, inputs = classes_of(model), model.scaled(x[None])
    with torch.no_grad():
        y = model.net.forward(model.params, inputs, Mode(keep=False))[0][0].cpu()  # (C, H, W)
    label, window = None if choice is None else index_of(choice, classes), ""
    if area is not None:
        top, left, bottom, right = area
        window = f"{top}:{bottom}, {left}:{right}"
        if label is None:
            label = int(y.argmax(0)[top:bottom, left:right].flatten().bincount(minlength=1).argmax())
    target = region_of_class(model, x, label, window)
    scores = (y * target.weights.cpu()).sum((1, 2))
    label = int(target.classes[0])
    return ScoreToExplain(
        label=target_text(target, classes) if area is None else classes[label],
        net=model.net,
        params=model.params,
        x=inputs,
        target=target,
        choices=classes,
        scores=scores,
        chosen=label,
        area=area,
        read=model.loss.predict,
        is_of_pixels=True,
    )


def _parse_window(window: str, size: tuple[int, int]) -> tuple[slice, ...]:
    """Return the rows and columns of a text such as "90:100, 120"; raises PellucidError if they are outside `size`."""
    matches = [RANGE_PATTERN.fullmatch(part) for part in window.split(",")]
    slices = [_parse_range(match, length) for match, length in zip(matches, size, strict=False) if match is not None]
    if len(matches) != 2 or len(slices) != 2 or any(not slice_.start < slice_.stop for slice_ in slices):
        raise PellucidError(
            f"[{window.strip()}] is not in an image of {size[0]} rows and {size[1]} columns; write a pixel as "
            "[ROW, COLUMN], as in [120, 200], or a region as in [90:100, 120:200]"
        )
    return tuple(slices)


def _parse_range(match: re.Match[str], length: int) -> slice:
    """Return the slice of a matched range, or an empty slice if the range extends beyond `length`."""
    start = int(match["at"] or match["start"] or 0)
    stop = start + 1 if match["at"] else int(match["stop"] or length)
    return slice(start, stop) if stop <= length else slice(0, 0)
