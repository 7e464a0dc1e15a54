"""For the doctor's experiments with masks: the mean IoU, and shifted, mirrored or relabelled masks."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.task import HeldOutScores, TargetChange
from pellucid.tasks.classify.doctor import class_changes, overlaps
from pellucid.tasks.outlines import FLIPS, MAX_SHIFT, best_shift, edges, shift_by, shift_text, shifted_strength

MIN_SHIFT = 2  # pixels
MIN_MIXED = 0.3  # fraction of the pixels predicted as other classes that have the label of the mixed class
MIN_CORRECT = 0.5  # fraction of the pixels with other labels than the mixed class that are predicted correctly
MIN_RATIO = 1.15  # strength of the edges at the outlines of changed masks, divided by that of the given masks
SQUARE_TURNS: dict[str, Callable[[Tensor], Tensor]] = {  # for square masks
    "with rows and columns exchanged": lambda mask: mask.T,
    "turned to the left": lambda mask: mask.rot90(),
    "turned to the right": lambda mask: mask.rot90(-1),
}


def ignored_label(model: Any) -> int | None:
    """Return the label that the loss ignores; None without one, or if the model has an output for this label."""
    ignore, (classes, *_) = getattr(model.loss, "ignore", None), model.output_shape
    return None if ignore is None or 0 <= ignore < classes else ignore


def scores(outputs: Sequence[Tensor], masks: Sequence[Tensor], ignore: int | None) -> HeldOutScores:
    """Return the mean IoU of the classes, NaN for masks without labels; see `overlaps`.

    outputs: (C, H, W) each. masks: (H, W) each.
    """
    are_labelled = [torch.ones_like(mask, dtype=torch.bool) if ignore is None else mask != ignore for mask in masks]
    predicted = [output.argmax(0)[chosen] for output, chosen in zip(outputs, are_labelled, strict=True)]
    true = [mask[chosen] for mask, chosen in zip(masks, are_labelled, strict=True)]
    return overlaps(predicted, true, torch.cat(true).unique().tolist())


def target_changes(
    images: Sequence[Tensor], masks: Sequence[Tensor], outputs: Sequence[Tensor] | None, ignore: int | None
) -> list[TargetChange]:
    """Return the changes of masks that the outputs suggest; without outputs, those that the images' edges suggest."""
    if len({mask.shape for mask in masks}) > 1 or any(image.shape[1:] != masks[0].shape for image in images):
        return []
    max_shift = min(MAX_SHIFT, min(masks[0].shape) // 4)
    changes: list[TargetChange] = []
    if outputs is None:
        maps = [edges(image) for image in images]
        pairs = [(edge_map, _outline_pixels(mask, ignore).float()) for edge_map, mask in zip(maps, masks, strict=True)]
        min_ratio = MIN_RATIO
    else:
        pairs = [
            ((output.argmax(0) == label).float(), (mask == label).float())
            for output, mask in zip(outputs, masks, strict=True) for label in mask.unique() if label != ignore
        ]  # fmt: skip
        min_ratio = 1.0
    strength = torch.stack(
        [shifted_strength(reference_map, mask_map, max_shift) for reference_map, mask_map in pairs]
    ).mean(0)
    unshifted_strength = float(strength[max_shift, max_shift])
    down, right, ratio = best_shift(strength)
    if max(abs(down), abs(right)) >= MIN_SHIFT and ratio > min_ratio:
        changes.append(TargetChange(
            "shifted-masks", f"masks shifted by {shift_text(down, right)}",
            "are shifted from their images", "find out what moved the masks, such as padding or cropping of the images "
            "alone", shift_by(down, right), key=f"{down},{right}",
        ))  # fmt: skip
    is_square = masks[0].shape[0] == masks[0].shape[1]
    for name, turn in (FLIPS | SQUARE_TURNS if is_square else FLIPS).items():
        if (
            sum(
                float((reference_map * turn(mask_map)).sum() / mask_map.sum().clamp_min(1))
                for reference_map, mask_map in pairs
            )
            / len(pairs)
            > min_ratio * unshifted_strength
        ):
            changes.append(TargetChange(
                "mirrored-masks", f"masks {name}", "are mirrored or turned relative to their images",
                "mirror and turn images and masks together", lambda mask, size, turn=turn: turn(mask), key=name,
            ))  # fmt: skip
    if outputs is not None:
        confusion = _confusion_matrix(outputs, masks, ignore)
        changes += class_changes(confusion, "class-order") + (
            [] if ignore is None else _without_mixed_class(confusion, ignore)
        )
    return changes


def _without_mixed_class(confusion: Tensor, ignore: int) -> list[TargetChange]:
    """Return the change that ignores a class whose label many pixels of other classes have; [] if there is none.

    confusion: the numbers of pixels by true and predicted class.
    """
    n_correct, n_labelled = confusion.diagonal(), confusion.sum(1)
    n_mislabelled = n_labelled - n_correct
    label = int(n_mislabelled.argmax())
    n_predicted_otherwise = confusion.sum() - confusion[:, label].sum()
    other_labels = [k for k in range(len(n_correct)) if k != label]
    if (
        n_mislabelled[label] < MIN_MIXED * n_predicted_otherwise
        or n_correct[other_labels].sum() < MIN_CORRECT * n_labelled[other_labels].sum()
    ):
        return []
    return [TargetChange(
        "mixed-class", f"masks without class {label}", f"mark pixels of other classes as class {label}",
        f"mark pixels that are left out with {ignore}, which the loss ignores, and look for objects in class {label}",
        lambda mask, size: mask.masked_fill(mask == label, ignore), unproven=True, key=str(label),
    )]  # fmt: skip


def _outline_pixels(mask: Tensor, ignore: int | None) -> Tensor:
    """Return the pixels of a mask (H, W) whose left or upper neighbour has another class."""
    outline = torch.zeros_like(mask, dtype=torch.bool)
    is_labelled = torch.ones_like(outline) if ignore is None else mask != ignore
    outline[:, 1:] |= (mask[:, 1:] != mask[:, :-1]) & is_labelled[:, 1:] & is_labelled[:, :-1]
    outline[1:] |= (mask[1:] != mask[:-1]) & is_labelled[1:] & is_labelled[:-1]
    return outline


def _confusion_matrix(outputs: Sequence[Tensor], masks: Sequence[Tensor], ignore: int | None) -> Tensor:
    """Return the numbers of pixels by true and predicted class."""
    true = torch.cat([mask.flatten() for mask in masks]).long()
    predicted = torch.cat([output.argmax(0).flatten() for output in outputs])
    is_labelled = true >= 0 if ignore is None else true != ignore
    count = max(len(outputs[0]), int(true[is_labelled].max()) + 1)
    matrix = (true[is_labelled] * count + predicted[is_labelled]).bincount(minlength=count**2)
    return matrix.view(count, count).double()
