"""Changes of images that may undo a difference between their preprocessing and that of other images."""

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.doctor.inputs import STANDARDISED_OTHERWISE, InputChange, undoing_changes

# The keys of the changes of `undoing_changes` that move no pixels, so that targets with positions still fit.
VALUE_CHANGES = ("not-divided", "divided-twice", "inverted", STANDARDISED_OTHERWISE, "reversed-channels")
MIN_DEVIATION = 1e-3  # of a feature, relative to the largest; others are nearly constant, and not standardised
MAX_FARTHER = 0.1  # standard deviations by which a change may increase the distance of the moments from the others'


def input_changes(x: Tensor, reference: Tensor, moves_pixels: bool = False) -> dict[str, InputChange]:
    """Return changes that may make the preprocessing of images x equal to that of `reference`; both are (N, C, H, W).

    The changes are returned by their keys. moves_pixels: whether they may move pixels. Vectors (N, D) are only
    standardised.
    """
    x, reference = float_images(x), float_images(reference)
    if x.dim() == 2:
        (mean, std), (new_mean, new_std) = ((part.mean(0), part.std(0, correction=0)) for part in (x, reference))
        varies = (std > MIN_DEVIATION * std.max()) & (new_std > MIN_DEVIATION * new_std.max())
        factor = torch.where(varies, new_std / std, 1.0)
        offset = torch.where(varies, new_mean - factor * mean, 0.0)
        return {STANDARDISED_OTHERWISE: InputChange("standardised otherwise", lambda x: x * factor + offset)}
    max_distance = _moment_distance(x, reference) + MAX_FARTHER
    return {
        key: change for key, change in undoing_changes(x, reference).items()
        if (moves_pixels or key in VALUE_CHANGES) and _moment_distance(change.undo(x), reference) <= max_distance
    }  # fmt: skip


def _moment_distance(x: Tensor, reference: Tensor) -> float:
    """Return the distance of the channels' means and standard deviations, in standard deviations of `reference`."""
    (mean, std), (other_mean, other_std) = (
        (part.mean((0, 2, 3)), part.std((0, 2, 3), correction=0)) for part in (x, reference)
    )
    scale = other_std.clamp_min(1e-6)
    return float((((mean - other_mean) / scale).abs() + ((std - other_std) / scale).abs()).mean())
