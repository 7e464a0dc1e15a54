"""For the doctor's experiments with translators: target images that are shifted, mirrored or turned."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.task import TargetChange
from pellucid.tasks.outlines import FLIPS, MAX_SHIFT, best_shift, edges, shift_by, shift_text, shifted_strength

MIN_RATIO = 1.1  # strength of the predicted edges at those of the shifted targets, divided by that without shift


def target_changes(targets: Sequence[Tensor], outputs: Sequence[Tensor] | None) -> list[TargetChange]:
    """Return the flips and the shift of the target images (C, H, W) that put their edges at those of the outputs."""
    if outputs is None or len({image.shape[1:] for image in (*targets, *outputs)}) > 1:
        return []
    max_shift = min(MAX_SHIFT, min(targets[0].shape[1:]) // 4)
    pairs = [(edges(output), edges(target)) for output, target in zip(outputs, targets, strict=True)]
    strength = torch.stack(
        [shifted_strength(output_edges, target_edges, max_shift) for output_edges, target_edges in pairs]
    ).mean(0)
    unshifted_strength, (down, right, ratio) = (
        sum(float((output_edges * target_edges).sum()) for output_edges, target_edges in pairs),
        best_shift(strength),
    )
    changes = [
        TargetChange(
            "mirrored-targets", f"target images {name}", "are mirrored or turned relative to their inputs",
            "mirror and turn inputs and targets together", lambda target, size, turn=turn: turn(target), key=name,
        )
        for name, turn in FLIPS.items()
        if sum(float((output_edges * turn(target_edges)).sum()) for output_edges, target_edges in pairs)
        > MIN_RATIO * unshifted_strength
    ]  # fmt: skip
    if ratio < MIN_RATIO:
        return changes
    return [*changes, TargetChange(
        "shifted-targets", f"target images shifted by {shift_text(down, right)}",
        "are shifted from their inputs", "resize, crop and pad inputs and targets in the same way",
        shift_by(down, right), key=f"{down},{right}",
    )]  # fmt: skip
