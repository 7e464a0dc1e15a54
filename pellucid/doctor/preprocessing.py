"""Changes of images that may undo a difference between their preprocessing and that of other images."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.augment.standardise import FeatureStats
from pellucid.data.dataset import float_images
from pellucid.doctor.inputs import STANDARDISED_OTHERWISE, InputChange, undoing_changes
from pellucid.task.traits import has_colours

# The keys of the changes of `undoing_changes` that are tried: they move no pixels, so targets with positions still fit.
VALUE_CHANGES = ("not-divided", "divided-twice", "inverted", STANDARDISED_OTHERWISE, "reversed-channels")
MIN_DEVIATION = 1e-3  # of a feature, relative to the largest; others are nearly constant, and not standardised
MAX_FARTHER = 0.1  # standard deviations by which a change may increase the distance of the moments from the others'
MIN_COLOURED = 0.5  # fraction of the images that have colours
MIN_BORDERED = 0.95  # fraction of the images that must have a border
MAX_VARIATION = 2 / 255  # difference between the largest and the smallest pixel in a row of a border


def input_changes(x: Tensor, reference: Tensor, stats: FeatureStats | None) -> dict[str, InputChange]:
    """Return changes that may make the preprocessing of images x equal to that of `reference`; both are (N, C, H, W).

    The changes are returned by their keys. stats: the standardization in the model. Vectors (N, D) are only
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
    changes = {
        key: change for key, change in undoing_changes(x, reference, stats).items()
        if key in VALUE_CHANGES and _moment_distance(change.undo(x), reference) <= max_distance
    }  # fmt: skip
    if not bool(has_colours(reference).any()) and float(has_colours(x).double().mean()) > MIN_COLOURED:
        changes["coloured"] = InputChange(
            "in colour, while training images have shades of grey alone", lambda x: x.mean(1, True).expand_as(x)
        )
    if x.shape[2:] != reference.shape[2:]:
        return changes
    excess = [a - b for a, b in zip(_border_sizes(x), _border_sizes(reference), strict=True)]
    if max(excess) > 0 and min(excess) >= 0:
        (top, bottom, left, right), (height, width) = excess, x.shape[2:]

        def without_border(x: Tensor) -> Tensor:
            inner = x[:, :, top : height - bottom, left : width - right]
            return F.interpolate(inner, (height, width), mode="bilinear", antialias=True)

        changes["padded"] = InputChange("padded to their size with a border (letterboxed)", without_border, True)
    if min(excess) < 0 and max(excess) <= 0:
        top, bottom, left, right = (-border for border in excess)
        inner_size = x.shape[2] - top - bottom, x.shape[3] - left - right
        row = 0 if top else -1 if bottom else slice(None)
        column = 0 if left else -1 if right else slice(None)
        value = float(reference[:, :, row, slice(None) if top or bottom else column].mean())

        def with_border(x: Tensor) -> Tensor:
            inner = F.interpolate(x, inner_size, mode="bilinear", antialias=True)
            return F.pad(inner, (left, right, top, bottom), value=value)

        changes["not-padded"] = InputChange("not padded with a border, as the training images are", with_border, True)
    return changes


def _moment_distance(x: Tensor, reference: Tensor) -> float:
    """Return the distance of the channels' means and standard deviations, in standard deviations of `reference`."""
    (mean, std), (other_mean, other_std) = (
        (part.mean((0, 2, 3)), part.std((0, 2, 3), correction=0)) for part in (x, reference)
    )
    scale = other_std.clamp_min(1e-6)
    return float((((mean - other_mean) / scale).abs() + ((std - other_std) / scale).abs()).mean())


def _border_sizes(x: Tensor) -> tuple[int, int, int, int]:
    """Return the number of constant rows at the top and bottom and of constant columns at the left and right."""
    counts = []
    for rows in (x, x.transpose(2, 3)):
        constant = ((rows.amax(3) - rows.amin(3)).amax(1) <= MAX_VARIATION).float().mean(0) >= MIN_BORDERED
        varies = (~constant).nonzero().flatten().tolist()
        counts += [varies[0], len(constant) - 1 - varies[-1]] if varies else [0, 0]
    return tuple(counts)  # type: ignore[return-value]
