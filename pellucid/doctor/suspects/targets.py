"""Suspects in targets that are values: their scale, values for missing ones, boxes of a loss, tiny spots."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf, isnan, nan
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.finding import MIN_GAIN, Suspect, suspect
from pellucid.doctor.remedies import rebuilt, with_standardised_targets
from pellucid.doctor.simple_classifier import fit_simple_classifier
from pellucid.doctor.suspects.losses import ChangedLoss
from pellucid.losses import BinaryCrossEntropy, Loss

UNNORMALISED_TARGETS = "unnormalised-targets"  # the name of the suspect
# |mean| of the targets, in standard deviations, and as it is: coordinates from 0 to 1 hardly need another scale.
MAX_OFFSET, MAX_MEAN = 2.0, 1.0
MAX_STD, MIN_STD = 5.0, 0.05  # standard deviation of the targets
MIN_COORDINATES_GAIN = 0.1  # of the score, by another scale of such targets; many sound trainings gain a little by it
# Of the value that stands for missing targets in a column
MIN_FILLED = 0.05  # fraction of the examples that have it
MIN_TIMES = 5  # times as frequent as any other value
MIN_DISTINCT = 20  # different values, with fewer of which the targets are not continuous
MIN_GAP = 0.5  # distance from all others, in their standard deviations
MIN_STEPS = 10  # the same distance, in steps between neighbouring values
MAX_CHANCE = 3.0  # standard deviations above chance, up to which the place of a value is not predicted
MIN_FILLED_GAIN = 0.1  # of the score, without these targets
MAX_COLUMNS = 256  # of targets that are searched for such values
# Of the corners x0, y0, x1, y1 of boxes: the matrix by which boxes of each form, as rows, are multiplied.
BOX_FORMS: dict[str, tuple[tuple[float, ...], ...]] = {
    "centre, width, height": ((1, 0, 1, 0), (0, 1, 0, 1), (-0.5, 0, 0.5, 0), (0, -0.5, 0, 0.5)),
    "x, y, width, height": ((1, 0, 1, 0), (0, 1, 0, 1), (0, 0, 1, 0), (0, 0, 0, 1)),
    "x0, x1, y0, y1": ((1, 0, 0, 0), (0, 0, 1, 0), (0, 1, 0, 0), (0, 0, 0, 1)),
}
MAX_BEYOND = 1.3  # of the largest value of the boxes, of their corners in pixels; parts of an image are up to 1
MAX_LOSS_RATIO = 0.01  # of the loss of boxes in the form that it takes, as outputs for themselves, to that of others
# Of heat maps with tiny spots: pixels above half of the height, side, and the fraction of equal values.
MAX_SPOT, MIN_SIDE, MIN_EQUAL = 6, 16, 0.95
MIN_INSIDE = 0.5  # of the examples, in which a map has values only at those of another
SPOT_SIGMA, FOUND_WITHIN = 2.0, 2  # pixels
MIN_SPOTS_GAIN = 0.2  # of the fraction of spots that are found, by wider ones
MIN_HEIGHT = 0.01  # of a spot, relative to the highest


def target_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if regression targets are far from mean 0 and standard deviation 1."""
    y = case.train.y
    if case.classifies or not y.is_floating_point():
        return
    mean, std = y.double().mean(0, keepdim=True), y.double().std(0, correction=0, keepdim=True)
    offset = float((mean.abs() / std.clamp_min(1e-12)).max())
    is_scaled_otherwise = float(std.max()) > MAX_STD or float(std.min()) < MIN_STD
    is_far = is_scaled_otherwise or float(mean.abs().max()) > MAX_MEAN
    if float(std.min()) > 0 and (offset > MAX_OFFSET or is_scaled_otherwise):
        yield suspect(
            UNNORMALISED_TARGETS, "the targets are far from the network's first outputs, so that most of the "
            "training is spent on learning their mean and scale",
            "subtract the targets' mean, divide by their standard deviation, and undo this in the predictions",
            "standardised targets",
            lambda case: rebuilt(with_standardised_targets(case)),
            path="train", unusual=is_far, min_gain=MIN_GAIN if is_far else MIN_COORDINATES_GAIN,
            mean_target=float(mean.mean()),
            standard_deviation_of_the_targets=float(std.mean()),
        )  # fmt: skip


@dataclass(frozen=True)
class OfCorners(ChangedLoss):
    """A loss of corners, of boxes in another form.

    form: of BOX_FORMS. converts_outputs: whether the outputs have this form too; otherwise, only the targets have.
    """

    form: str = ""
    converts_outputs: bool = True

    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return the loss of the corners and its gradient with respect to y."""
        matrix = torch.tensor(BOX_FORMS[self.form], dtype=y.dtype, device=y.device)
        if not self.converts_outputs:
            return self.loss(y, target.to(y.dtype) @ matrix)
        value, dy = self.loss(y @ matrix, target.to(y.dtype) @ matrix)
        return value, dy @ matrix.T


def box_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if a loss of four values is not lowest at its targets, but is if they are made corners.

    Losses of overlap take corners; of other boxes, the loss of perfect outputs is above 0.
    """
    loss, y = case.model.loss, case.train.y
    if not isinstance(loss, Loss) or not y.is_floating_point() or y.shape[1:] != (4,):
        return
    own_loss, limit = _loss_of_itself(loss, y), max(MAX_BEYOND * float(y.max()), 1.0)
    if own_loss <= MAX_LOSS_RATIO * _loss_of_itself(loss, y, y.roll(1, 0)):
        return
    fitting: list[OfCorners] = []
    for form, matrix in BOX_FORMS.items():
        corners = y @ torch.tensor(matrix, dtype=y.dtype)
        are_inside = (corners >= 0).all() and (corners <= limit).all()
        converted = [OfCorners(loss, form, converts_outputs) for converts_outputs in (True, False)]
        fitting += [one for one in converted if are_inside and _loss_of_itself(one, y) < MAX_LOSS_RATIO * own_loss]
    for one in fitting:
        others = [other.form for other in fitting if other.form != one.form]
        question = f" (or from {others[0]}: see how they are written)" if others else ""
        what = "outputs and targets" if one.converts_outputs else "the targets, as the outputs are,"
        yield suspect(
            "box-format", f"the loss takes boxes for corners x0, y0, x1, y1, so that it is {own_loss:.2g} even for "
            f"outputs that equal their targets, and about 0 if {what} are converted from {one.form}",
            f"convert {what} from {one.form}{question} to corners before the loss, since the boxes are not the corners "
            "that it takes", f"boxes converted from {one.form} in the loss",
            lambda case, one=one: rebuilt(case, loss=one), path="train", unusual=True, is_fault=True,
            key=f"boxes-from-{one.form}-{one.converts_outputs}", loss_of_the_targets_themselves=own_loss,
        )  # fmt: skip


def _loss_of_itself(loss: Loss, y: Tensor, target: Tensor | None = None) -> float:
    try:
        return float(loss(y, y if target is None else target)[0])
    except (PellucidError, RuntimeError, AttributeError, TypeError):  # of outputs of another form
        return 0.0


def spot_suspect(case: Case) -> Suspect | None:
    """Return a suspect if heat maps are nearly all of one value, with spots of a few pixels."""
    y, loss = case.train.y, case.model.loss
    is_mask = isinstance(loss, BinaryCrossEntropy) and bool(((y == 0) | (y == 1)).all())
    has_maps = y.is_floating_point() and y.dim() == 4 and min(y.shape[2:]) >= MIN_SIDE
    if is_mask or not has_maps or case.model.predict(case.train.x[:1]).shape != y[:1].shape:
        return None
    heights = y.flatten(2) - y.amin()
    equal_fraction = float((heights <= MIN_HEIGHT * heights.amax()).double().mean())
    sizes = are_spots(y).flatten(2).sum(2)
    n_pixels = int(sizes[sizes > 0].median()) if bool(sizes.any()) else 0
    if equal_fraction < MIN_EQUAL or not 0 < n_pixels <= MAX_SPOT:
        return None
    return suspect(
        "tiny-spots", f"the spots of the heat maps cover {plural(n_pixels, 'pixel')}, and {equal_fraction:.1%} of all "
        "values are equal, so that a network that answers nothing else has almost the lowest loss",
        f"draw the spots of the heat maps wider, with a sigma of about {SPOT_SIGMA:g} pixels (or give them more weight "
        "in the loss)", f"a sigma of {SPOT_SIGMA:g} pixels",
        lambda case: replace(case, train=replace(case.train, y=with_wider_spots(case.train.y))),
        path="train", min_gain=MIN_SPOTS_GAIN, is_likely=True, pixels_of_a_spot=n_pixels, equal_values=equal_fraction,
    )  # fmt: skip


def are_spots(y: Tensor) -> Tensor:
    """Return the pixels of heat maps (N, K, H, W) above half of the height of their map; none of maps without spots.

    And none of maps with values at the spots of another one, such as the sizes of objects.
    """
    heights = y - y.amin()
    highest = heights.amax((2, 3), keepdim=True)
    is_spot = (heights > highest / 2) & (highest > MIN_HEIGHT * heights.amax())
    return is_spot & ~_are_beside(heights.flatten(2))[:, None, None]


def _are_beside(heights: Tensor) -> Tensor:
    """Return which maps (N, K, n) have values only at those of another map, whose highest ones vary less, (K,)."""
    is_high = (heights > MIN_HEIGHT * heights.amax()).float()
    n_high = is_high.sum(2)
    are_inside = (is_high @ is_high.transpose(1, 2) == n_high[:, None]) & (n_high > 0)[:, None]  # map l inside map k
    inside_fractions = are_inside.sum(0) / (n_high > 0).sum(0).clamp_min(1)
    highest = heights.amax(2)
    rank = (highest.std(0, correction=0) / highest.mean(0).clamp_min(1e-12)).argsort(stable=True).argsort()
    return ((inside_fractions > MIN_INSIDE) & (rank[:, None] < rank)).any(0)


def found_spots(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the fraction of the maps whose highest output is near a spot, for each example that has some (n,)."""
    spots = are_spots(y)
    near_spots = F.max_pool2d(spots.float(), 2 * FOUND_WITHIN + 1, 1, FOUND_WITHIN).flatten(2)
    is_found = near_spots.gather(2, outputs.flatten(2).argmax(2, keepdim=True))[..., 0]  # (N, K); 0 without spots
    n_spots = spots.flatten(2).any(2).sum(1)
    return (is_found.sum(1) / n_spots)[n_spots > 0]


def with_wider_spots(y: Tensor) -> Tensor:
    """Return heat maps (N, K, H, W) whose spots are Gaussians of SPOT_SIGMA pixels and of the largest height of all.

    Maps of values at these spots remain.
    """
    heights, is_beside = y - y.amin(), _are_beside((y - y.amin()).flatten(2))
    maps = (heights * are_spots(y)).flatten(0, 1)[:, None]
    distances = torch.arange(-4 * SPOT_SIGMA, 4 * SPOT_SIGMA + 1, dtype=y.dtype)
    profile = torch.exp(-(distances**2) / (2 * SPOT_SIGMA**2))[None, None, None]
    for kernel in (profile, profile.transpose(2, 3)):
        maps = F.conv2d(maps, kernel, padding="same")
    highest = maps.amax((2, 3), keepdim=True).clamp_min(1e-12)
    wider = y.amin() + (maps / highest * heights.amax()).view(y.shape)
    return torch.where(is_beside[:, None, None], y, wider)


@dataclass(frozen=True)
class WithoutMissing(ChangedLoss):
    """A loss of values without those targets that stand for missing ones, which are replaced by the outputs.

    values: the value that stands for missing ones in each column of the targets; NaN without one.
    """

    values: tuple[float, ...] = ()

    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return the loss and its gradient with respect to y, which is 0 where a target is missing."""
        is_missing = are_filled(target, torch.tensor(self.values, dtype=torch.float64)).reshape(target.shape)
        return self.loss(y, torch.where(is_missing, y.reshape(target.shape).to(target.dtype), target))


def are_filled(y: Tensor, values: Tensor) -> Tensor:
    """Return whether each of the targets y (N,) or (N, D) is the value (D,) of its column, (N, D); NaN for none."""
    return y.reshape(len(y), -1) == values.to(y)


def filled_targets(train: Arrays, validation: Arrays, seed: int) -> tuple[Suspect, Tensor] | None:
    """Return the suspect for targets that were filled where they are missing, and the values, see `are_filled`.

    It is a value that continuous targets of the training data repeat exactly. If the validation data repeat it as well,
    it must be far from all others and, if it is 0, which targets may be, not predicted by a simple classifier of the
    inputs; or it must be that of both coordinates of some points alone.
    """
    y = train.y.reshape(len(train), -1)
    if not y.is_floating_point() or y.shape[1] > MAX_COLUMNS or validation.y.shape[1:] != train.y.shape[1:]:
        return None
    found = [_repeated_value(column) for column in y.T]
    values = torch.tensor([value for value, _ in found], dtype=torch.float64)
    is_filled, is_filled_elsewhere = are_filled(y, values), are_filled(validation.y, values)
    if not bool(is_filled.any()):
        return None
    different = values[~values.isnan()].unique()
    if float(is_filled_elsewhere.double().mean()) > float(is_filled.double().mean()) / 2:
        are_apart = all(is_apart or isnan(value) for value, is_apart in found)
        if are_apart and bool((different == 0).any()):
            are_apart = not _is_predicted(train, is_filled[:, int(is_filled.sum(0).argmax())], seed)
        is_in_pairs = y.shape[1] % 2 == 0 and torch.equal(is_filled[:, ::2], is_filled[:, 1::2])
        if not are_apart and not (is_in_pairs and bool((is_filled.any(1) & ~is_filled.all(1)).any())):
            return None
    text = f"{float(different[0]):g}"
    text = text if len(different) == 1 else f"a value in each column, such as {text}"
    n_examples, fraction = int(is_filled.any(1).sum()), float(is_filled.double().mean())
    change = suspect(
        "filled-targets", f"{fraction:.0%} of the training targets are exactly {text} (in {n_examples:,} of "
        f"{len(y):,} examples), far more often than any other value, as if it stood for missing ones",
        f"treat {text} as missing: leave these numbers out of the loss, or those examples out of the data",
        "a loss without these numbers",
        lambda case: rebuilt(case, loss=WithoutMissing(case.model.loss, tuple(values.tolist()))), path="train",
        min_gain=MIN_FILLED_GAIN, is_likely=True, fraction=fraction, examples=n_examples,
    )  # fmt: skip
    return change, values


def _is_predicted(data: Arrays, is_filled: Tensor, seed: int) -> bool:
    """Return whether a simple classifier of the inputs predicts where a column of the targets is filled (N,)."""
    classifier = fit_simple_classifier(replace(data, y=is_filled.long()), seed)
    return classifier is None or classifier.leave_one_out.deviations_above_chance > MAX_CHANCE


def _repeated_value(column: Tensor) -> tuple[float, bool]:
    """Return the value that many of continuous targets (N,) have, NaN for none, and whether all others are far."""
    values, counts = column[column.isfinite()].unique(return_counts=True)
    if len(values) < MIN_DISTINCT:
        return nan, False
    most, second = counts.topk(2).values.tolist()
    if most < max(MIN_FILLED * len(column), MIN_TIMES * second):
        return nan, False
    value = values[counts.argmax()]
    others = column[column.isfinite() & (column != value)]
    distances = torch.where(values == value, inf, (values - value).abs())
    is_apart = float(distances.min()) > max(MIN_STEPS * float(values.diff().median()), MIN_GAP * float(others.std()))
    return float(value), is_apart
