"""For the doctor's experiments with classes and values: scores of examples, and changed targets to try."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import log, nan
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.metrics import classes_of
from pellucid.task import HeldOutScores, TargetChange

MIN_AGREEMENT = 0.5  # fraction of the examples of a class that are predicted as one other class
MIN_FACTOR = 1.5  # ratio of predictions to targets, or its inverse, from which another unit is suggested
MIN_PROBABILITY = 0.5  # of an output, above which it predicts 1 of the values 0 and 1
MIN_VARIANCE = 1e-12  # of a column of the targets, relative to the largest
# The error of predictions of moved positions, relative to that of the positions as they are, which is 1 for their mean,
# and to that of the best move, up to which a simpler one is taken.
MAX_MOVED_ERROR, MAX_SIMPLER_ERROR = 0.6, 1.5
MIN_SHIFT, MIN_RATIO = 0.3, 1.3  # of the mean of scaled positions, in standard deviations, or of the scales of x and y
PADDING = "move targets by the padding that their images have, or by the corner to which they are cropped"
RESIZING = "scale targets by the factors of their images, those across and down apart"


def scores(outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> HeldOutScores | None:
    """Return a score of each example for classes or values, None for other outputs and targets.

    Classes: 1 if correct, 0 if not, NaN for negative labels, with weights of the mean recall. Values that are all 0 or
    1: the recall of each value, the mean over the columns, and for images the IoU of both values, since one of them may
    be so rare that outputs without it are close. Other values: their closeness 1 - squared error / variance of the
    targets, at least 0; the mean over the columns that vary. For images, it is 1 - the root of the mean squared error
    of all pixels / their mean variance: maps that are 0 almost everywhere are not close to 0, and small errors count.
    """
    if not _have_one_shape(outputs) or not _have_one_shape(targets):
        return None
    y, predicted = torch.stack([*targets]), torch.stack([*outputs])
    if not y.is_floating_point() and y.dim() == 1 and predicted.dim() == 2:
        correctness = torch.where(y < 0, torch.nan, (classes_of(predicted) == y).double())
        labels, index, counts = y.unique(return_inverse=True, return_counts=True)
        n_classes = max(int((labels >= 0).sum()), 1)
        return HeldOutScores("mean recall", correctness, len(y) / (n_classes * counts[index].double()))
    if predicted.numel() != y.numel() or not y.is_floating_point():
        return None
    is_image, y, predicted = y.dim() > 2, y.reshape(len(y), -1).double(), predicted.reshape(len(y), -1).double()
    if bool(((y == 0) | (y == 1)).all()):
        if not is_image:
            return _recall(predicted > MIN_PROBABILITY, y > 0)
        return overlaps([*(predicted > MIN_PROBABILITY)], [*(y > 0)], (False, True))
    variance = y.var(0, correction=0)
    variance = variance.mean().expand_as(variance) if is_image else variance
    varies = variance >= MIN_VARIANCE * variance.max()
    errors = (predicted - y).square()[:, varies] / variance[varies].clamp_min(1e-12)
    errors = errors.mean(1, keepdim=True).sqrt() if is_image else errors
    return HeldOutScores("closeness", 1 - errors.clamp_max(1).mean(1))


def _recall(predicted: Tensor, y: Tensor) -> HeldOutScores:
    """Return scores whose mean is the mean recall of both values, over the columns of y (N, n) that have both."""
    y, predicted = (one[:, y.any(0) & ~y.all(0)] for one in (y, predicted))
    share = y.double().mean(0)
    weights = torch.where(y, 1 / share, 1 / (1 - share)) / 2
    return HeldOutScores("mean recall", ((predicted == y) * weights).mean(1))


def overlaps(predicted: Sequence[Tensor], true: Sequence[Tensor], labels: Sequence[Any]) -> HeldOutScores:
    """Return the mean IoU of the labels that each mask has, with weights of the mean IoU of all pixels together.

    Masks without a rare label would otherwise count as perfect wherever nothing is predicted. NaN for masks without any
    of the labels.
    """
    pairs = [
        [(answer == label, mask == label) for label in labels] for answer, mask in zip(predicted, true, strict=True)
    ]
    counts = torch.tensor([[[(a & b).sum(), (a | b).sum(), b.sum()] for a, b in pair] for pair in pairs])
    intersections, unions, sizes = counts.double().reshape(len(pairs), len(labels), 3).unbind(2)
    ious = torch.where(sizes > 0, intersections / unions, nan).nanmean(1)
    is_present = sizes.sum(0) > 0
    shares = (intersections / unions.mean(0).clamp_min(1e-12))[:, is_present].mean(1)
    return HeldOutScores("mean IoU", ious, (shares / ious.clamp_min(1e-12)).nan_to_num())


def _have_one_shape(values: Sequence[object]) -> bool:
    """Return whether all values are tensors of one shape."""
    shapes = {value.shape for value in values if isinstance(value, Tensor)}
    return len(shapes) == 1 and all(isinstance(value, Tensor) for value in values)


def suggest_changes(
    images: Sequence[Tensor], outputs: Sequence[Tensor], targets: Sequence[Tensor]
) -> list[TargetChange]:
    """Return the changes of classes or values after which the targets may agree with the predictions."""
    if not _have_one_shape(outputs) or not _have_one_shape(targets):
        return []
    y, predicted = torch.stack([*targets]), torch.stack([*outputs])
    if not y.is_floating_point() and y.dim() == 1 and predicted.dim() == 2 and int(y.min()) >= 0:
        n_classes = max(int(y.max()) + 1, predicted.shape[1], 2)
        confusion = torch.zeros(n_classes, n_classes).index_put_(
            (y, classes_of(predicted)), torch.ones(len(y)), accumulate=True
        )
        return class_changes(confusion, "shifted-labels")
    if y.is_floating_point() and predicted.numel() == y.numel():
        predicted, y = predicted.reshape(y.shape).double(), y.double()
        are_known = len(y) > 1 and bool((y.isfinite() & predicted.isfinite()).all())
        may_be_positions = are_known and images[0].dim() == 3 and y.dim() == 2 and y.shape[1] % 2 == 0
        return (may_be_positions and _suggest_moves(predicted, y)) or _suggest_value_changes(predicted, y)
    return []


def class_changes(confusion: Tensor, change_name: str) -> list[TargetChange]:
    """Return the exchange of classes that a confusion matrix (true, predicted) suggests; [] if it suggests none."""
    labels = [label for label, total in enumerate(confusion.sum(1).tolist()) if total > 0]
    confusion_shares = confusion / confusion.sum(1, keepdim=True).clamp_min(1e-12)
    new_classes = {
        label: int(confusion_shares[label].argmax())
        for label in labels
        if confusion_shares[label].max() > MIN_AGREEMENT
    }
    for label in labels:
        free_labels = [new_label for new_label in labels if new_label not in new_classes.values()]
        if label not in new_classes and free_labels:  # badly predicted: itself, unless another class has its number
            new_classes[label] = label if label in free_labels else free_labels[0]
    changed_classes = {label: new_label for label, new_label in new_classes.items() if label != new_label}
    if not changed_classes or len(set(new_classes.values())) < len(new_classes):
        return []
    offsets = {new_label - label for label, new_label in changed_classes.items()}
    description = ", ".join(f"class {label} as {new_label}" for label, new_label in list(changed_classes.items())[:4])
    key = ",".join(f"{label}-{new_label}" for label, new_label in changed_classes.items())
    if len(offsets) == 1:
        key = f"plus-{min(offsets)}"
        description = f"class numbers {'raised' if min(offsets) > 0 else 'lowered'} by {abs(min(offsets))}"
    return [
        TargetChange(
            change_name, description, "count or order their classes in another way than the other",
            "list the classes once, in the same order, for training and validation", class_replacer(new_classes),
            key=key,
        )
    ]  # fmt: skip


def class_replacer(new_classes: Mapping[int, int]) -> Callable[[Tensor, tuple[int, ...]], Tensor]:
    """Return a function of a target and a size that replaces the classes of the target; new_classes: by old class."""

    def apply(target: Tensor, size: tuple[int, ...]) -> Tensor:
        result = target.clone()
        for label, new_label in new_classes.items():
            result[target == label] = new_label
        return result

    return apply


def _suggest_value_changes(predicted: Tensor, y: Tensor) -> list[TargetChange]:
    """Return the change of values (N, ...) to the unit of the predictions, and the exchange of two columns."""
    changes: list[TargetChange] = []
    factor = float((predicted * y).sum() / y.square().sum().clamp_min(1e-12))
    if factor < 0 or abs(log(max(factor, 1e-12))) > log(MIN_FACTOR):
        changes.append(TargetChange(
            "other-values", f"values multiplied by {factor:.4g}",
            "are in another unit than those that the network learned",
            "use the same unit for training and validation targets", lambda target, size: target * factor,
            key=f"times-{factor:.4g}",
        ))  # fmt: skip
    if y.dim() == 2 and y.shape[1] == 2:
        changes.append(TargetChange(
            "other-values", "both columns exchanged",
            "have their columns in another order than those that the network learned",
            "write the columns of training and validation targets in the same order",
            lambda target, size: target.flip(0), key="exchanged",
        ))  # fmt: skip
    return changes


class _Move(NamedTuple):
    """A change of points (N, K, 2), x and y of boxes or of others.

    text: what is done before a scale and an offset are fitted. turn: does it. fits_scale: whether each axis is scaled.
    offset_mask: (K, 2), 1 where an offset is added, which is not so for widths.
    """

    key: str
    text: str
    cause: str
    fix: str
    turn: Callable[[Tensor], Tensor] = lambda points: points
    fits_scale: bool = False
    offset_mask: Tensor | float = 0.0

    def fit(self, predicted: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scale and the offset of each axis, (2,), by least squares."""
        turned = self.turn(points)
        mask = torch.as_tensor(self.offset_mask).double().expand_as(turned)
        fits = list[Tensor]()
        for axis in (0, 1):
            x, y, ones = (one[..., axis].flatten() for one in (turned, predicted, mask))
            rows = torch.stack([x, ones] if self.fits_scale else [torch.zeros_like(x), ones], 1)
            fits.append(torch.linalg.lstsq(rows, y if self.fits_scale else y - x, driver="gelsd").solution)
        scale, offset = torch.stack(fits, 1)
        return (scale if self.fits_scale else torch.ones_like(scale)), offset

    def apply(self, points: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        """Return points (N, K, 2), moved."""
        return self.turn(points) * scale.to(points) + torch.as_tensor(self.offset_mask).to(points) * offset.to(points)


def _suggest_moves(predicted: Tensor, y: Tensor) -> list[TargetChange]:
    """Return the simplest move of positions, of boxes or other points, to the predictions; [] if none is near them.

    predicted, y: (N, 2 K), x and y in turn. A scale that draws both alike to their mean is that of a weak model.
    """
    predicted, points = (one.view(len(y), -1, 2) for one in (predicted, y))
    moves, error = list[tuple[float, _Move, Tensor, Tensor]](), _error(points, predicted)
    for move in _moves(points.shape[1]):
        scale, offset = move.fit(predicted, points)
        moved = move.apply(points, scale, offset)
        shifts = (moved - points).mean((0, 1)).abs() / points.std((0, 1)).clamp_min(1e-12)
        is_weak = abs(float((scale[0] / scale[1]).log())) < log(MIN_RATIO) and float(shifts.max()) < MIN_SHIFT
        if bool((scale > 0).all()) and not (move.fits_scale and is_weak):
            moves.append((_error(moved, predicted), move, scale, offset))
    least_error = min(one[0] for one in moves)
    if least_error > MAX_MOVED_ERROR * min(error, 1.0):
        return []
    _, move, scale, offset = next(one for one in moves if one[0] <= MAX_SIMPLER_ERROR * least_error)
    numbers = {"across": scale[0], "down": scale[1], "right": offset[0], "below": offset[1]}
    text = move.text.format(**{name: f"{float(value):.2g}" for name, value in numbers.items()})
    return [TargetChange(
        "moved-positions", f"positions (x, y in turn) with {text}", move.cause, move.fix,
        lambda target, size: move.apply(target.view(1, -1, 2), scale, offset).reshape(target.shape), key=move.key,
    )]  # fmt: skip


def _error(points: Tensor, predicted: Tensor) -> float:
    """Return the mean squared distance of predictions, (N, K, 2), relative to the variance of the points."""
    return float(((points - predicted).square().mean(0) / points.var(0, correction=0).clamp_min(1e-12)).mean())


def _moves(n_points: int) -> Iterator[_Move]:
    """Yield the moves of points, the simplest first; two points may be two corners, or a position and a size."""
    masks = {"": torch.ones(n_points, 2)}
    if n_points == 2:
        masks["-of-boxes-with-sizes"] = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    scaled, shifted = "x multiplied by {across} and y by {down}", "{right} added to x and {below} to y"
    resized = "are positions in images of another size, or in another unit"
    exchanged = "have x and y exchanged"
    order = "write x before y in all targets (an array is indexed [row, column], which is [y, x])"
    yield _Move("exchanged", "x and y exchanged", exchanged, order, lambda points: points.flip(2))
    yield _Move("scaled", scaled, resized, RESIZING, fits_scale=True)
    for key, mask in masks.items():
        yield _Move(f"shifted{key}", shifted, "are shifted, as by padding or a crop", PADDING, offset_mask=mask)
    for axis in torch.eye(2):
        name, fix = "yx"[int(axis[0])], "mirror targets together with their images"
        mirrored, cause = f"{name} mirrored", "are mirrored relative to their images"
        for key, mask in masks.items():
            is_mirrored = mask * axis
            yield _Move(f"mirrored-{name}{key}", mirrored, cause, fix, partial(_mirrored, is_mirrored=is_mirrored),
                        offset_mask=is_mirrored)  # fmt: skip
        if n_points == 2:
            yield _Move(
                f"mirrored-{name}-of-corners", mirrored, cause, fix,
                lambda points, axis=axis: _mirrored(torch.where(axis > 0, points.flip(1), points), axis),
                offset_mask=axis,
            )  # fmt: skip
    for key, mask in masks.items():
        yield _Move(f"scaled-shifted{key}", f"{scaled}, then {shifted}", f"{resized}, with padding or a crop",
                    f"{RESIZING}, and {PADDING}", fits_scale=True, offset_mask=mask)  # fmt: skip
    yield _Move("exchanged-scaled", f"x and y exchanged, then {scaled}", f"{exchanged}, and {resized}",
                f"{order}, and {RESIZING}", lambda points: points.flip(2), fits_scale=True)  # fmt: skip


def _mirrored(points: Tensor, is_mirrored: Tensor) -> Tensor:
    """Return points (N, K, 2) times -1 where they are mirrored, (K, 2)."""
    return torch.where(is_mirrored > 0, -points, points)
