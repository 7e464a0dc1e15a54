"""What the doctor's experiments compare for masks: the IoU of each image, and masks shifted, mirrored or relabelled."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.task import HeldOutScores, TargetChange
from pellucid.tasks.classify.doctor import class_changes
from pellucid.tasks.outlines import best_shift, edges, shifted_strength

MAX_SHIFT = 24  # pixels, and at most a quarter of the image
MIN_SHIFT = 2  # pixels
MIN_MIXED = 0.3  # fraction of the pixels predicted as other classes that are marked as one class
MIN_AVERAGED = 0.15  # fraction of the pixels between two labels whose own label lies between these
MIN_RIGHT = 0.5  # fraction of the pixels of all other classes that are predicted as they are marked
MIN_RATIO = 1.15  # strength of the edges at the outlines of other masks over that at the given ones
FLIPS: dict[str, Callable[[Tensor], Tensor]] = {
    "mirrored": lambda mask: mask.flip(1),
    "upside down": lambda mask: mask.flip(0),
    "turned by 180 degrees": lambda mask: mask.flip(0, 1),
}
TURNS: dict[str, Callable[[Tensor], Tensor]] = {  # of square masks
    "with rows and columns exchanged": lambda mask: mask.T,
    "turned to the left": lambda mask: mask.rot90(),
    "turned to the right": lambda mask: mask.rot90(-1),
}


def void(model: Any) -> int | None:
    """Return the label that the loss ignores, None without one or if it is a class that the model has an output for."""
    ignore, (classes, *_) = getattr(model.loss, "ignore", None), model.output_shape
    return None if ignore is None or 0 <= ignore < classes else ignore


def scores(outputs: Sequence[Tensor], masks: Sequence[Tensor], ignore: int | None) -> HeldOutScores:
    """Return the mean IoU of the classes in each mask; outputs: (C, H, W) each, masks: (H, W) each."""
    values: list[float] = []
    for output, mask in zip(outputs, masks, strict=True):
        kept = torch.ones_like(mask, dtype=torch.bool) if ignore is None else mask != ignore
        predicted, true = output.argmax(0)[kept], mask[kept]
        common = [
            ((predicted == c) & (true == c)).sum() / ((predicted == c) | (true == c)).sum() for c in true.unique()
        ]
        values.append(float(torch.stack(common).mean()) if common else 0.0)
    return HeldOutScores("mean IoU of an image", torch.tensor(values))


def changes(
    images: Sequence[Tensor], masks: Sequence[Tensor], outputs: Sequence[Tensor] | None, ignore: int | None
) -> list[TargetChange]:
    """Return other masks that the outputs suggest, or else the edges of the images."""
    if len({mask.shape for mask in masks}) > 1 or any(image.shape[1:] != masks[0].shape for image in images):
        return []
    most = min(MAX_SHIFT, min(masks[0].shape) // 4)
    found = _interpolated(masks) if outputs is None else []
    if outputs is None:
        maps = [edges(image) for image in images]
        pairs = [(found, _outline(mask, ignore).float()) for found, mask in zip(maps, masks, strict=True)]
        least = MIN_RATIO
    else:
        pairs = [
            ((output.argmax(0) == label).float(), (mask == label).float())
            for output, mask in zip(outputs, masks, strict=True) for label in mask.unique() if label != ignore
        ]  # fmt: skip
        least = 1.0
    strength = torch.stack([shifted_strength(a, b, most) for a, b in pairs]).mean(0)
    middle = float(strength[most, most])
    down, right, ratio = best_shift(strength)
    if max(abs(down), abs(right)) >= MIN_SHIFT and ratio > least:
        found.append(TargetChange(
            "shifted-masks", f"masks shifted by {right} pixels to the right and {down} down",
            "are shifted from their images", "find out what moved the masks, such as padding or cropping of the images "
            "alone", shifted(down, right),
        ))  # fmt: skip
    square = masks[0].shape[0] == masks[0].shape[1]
    for name, turn in (FLIPS | TURNS if square else FLIPS).items():
        if sum(float((a * turn(b)).sum() / b.sum().clamp_min(1)) for a, b in pairs) / len(pairs) > least * middle:
            found.append(TargetChange(
                "mirrored-masks", f"masks {name}", "are mirrored or turned relative to their images",
                "mirror and turn images and masks together", lambda mask, size, turn=turn: turn(mask),
            ))  # fmt: skip
    if outputs is not None:
        confusion = _confusion(outputs, masks, ignore)
        found += class_changes(confusion, "class-order") + ([] if ignore is None else _mixed(confusion, ignore))
    return found


def _interpolated(masks: Sequence[Tensor]) -> list[TargetChange]:
    """Return masks without the classes that lie between two others by their number, as averages of labels do.

    [] if that is no commoner than a class between two others is.
    """
    crossings = [_between(mask) for mask in masks]
    changed, count = (sum(int(one[k].sum()) for one in crossings) for k in (0, 1))
    if changed < MIN_AVERAGED * max(count, 1):
        return []
    return [TargetChange(
        "interpolated-masks", "masks whose averages of two labels are one of the two",
        "have labels between those of two neighbours, as averages of class numbers are",
        "resize masks by the nearest pixel, never by interpolation", lambda mask, size: _undone(mask),
    )]  # fmt: skip


def _between(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return which pixels have a label between those of their neighbours, where these differ, and a neighbour's label.

    Neighbours are one pixel away along an axis, of which one with a label between is preferred.
    """
    between, differ, label = torch.zeros_like(mask, dtype=torch.bool), torch.zeros_like(mask, dtype=torch.bool), mask
    for axis in (0, 1):
        first, second = mask.roll(1, axis), mask.roll(-1, axis)
        inside = torch.ones_like(between)
        inside.select(axis, 0).fill_(False)
        inside.select(axis, -1).fill_(False)
        low, high = torch.minimum(first, second), torch.maximum(first, second)
        here = inside & (low < mask) & (mask < high)
        differ |= inside & (low != high)
        label = torch.where(here & ~between, first, label)
        between |= here
    return between, differ, label


def _undone(mask: Tensor) -> Tensor:
    between, _, label = _between(mask)
    return torch.where(between, label, mask)


def _mixed(confusion: Tensor, ignore: int) -> list[TargetChange]:
    """Return masks without the class as which many pixels of others are marked; [] if there is none.

    confusion: the numbers of pixels by true and predicted class.
    """
    right, marked = confusion.diagonal(), confusion.sum(1)
    wrong = marked - right
    label = int(wrong.argmax())
    predicted_otherwise = confusion.sum() - confusion[:, label].sum()
    rest = [k for k in range(len(right)) if k != label]
    if wrong[label] < MIN_MIXED * predicted_otherwise or right[rest].sum() < MIN_RIGHT * marked[rest].sum():
        return []
    return [TargetChange(
        "mixed-class", f"masks without class {label}", f"mark pixels of other classes as class {label}",
        f"mark pixels that are left out with {ignore}, which the loss ignores, and look for objects in class {label}",
        lambda mask, size: mask.masked_fill(mask == label, ignore), unproven=True,
    )]  # fmt: skip


def shifted(down: int, right: int) -> Callable[[Tensor, tuple[int, ...]], Tensor]:
    """Return a function that shifts a mask (H, W) and repeats its border where nothing is known."""

    def apply(mask: Tensor, size: tuple[int, ...]) -> Tensor:
        rows, columns = (
            (torch.arange(n) - by).clamp(0, n - 1) for n, by in zip(mask.shape, (down, right), strict=True)
        )
        return mask[rows][:, columns]

    return apply


def _outline(mask: Tensor, ignore: int | None) -> Tensor:
    """Return the pixels of a mask (H, W) whose left or upper neighbour has another class."""
    found = torch.zeros_like(mask, dtype=torch.bool)
    known = torch.ones_like(found) if ignore is None else mask != ignore
    found[:, 1:] |= (mask[:, 1:] != mask[:, :-1]) & known[:, 1:] & known[:, :-1]
    found[1:] |= (mask[1:] != mask[:-1]) & known[1:] & known[:-1]
    return found


def _confusion(outputs: Sequence[Tensor], masks: Sequence[Tensor], ignore: int | None) -> Tensor:
    """Return the numbers of pixels by true and predicted class."""
    true = torch.cat([mask.flatten() for mask in masks]).long()
    predicted = torch.cat([output.argmax(0).flatten() for output in outputs])
    kept = true >= 0 if ignore is None else true != ignore
    count = max(len(outputs[0]), int(true[kept].max()) + 1)
    matrix = (true[kept] * count + predicted[kept]).bincount(minlength=count**2)
    return matrix.view(count, count).double()
