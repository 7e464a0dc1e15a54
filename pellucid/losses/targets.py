"""Checks and conversions of targets, class weights, and the base class of losses of integer classes."""
# Callers may not check argument types.
# pyright: reportUnnecessaryIsInstance=false

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import is_number
from pellucid.base.text import plural
from pellucid.layers.base import Shape
from pellucid.losses.base import Loss, Reduction, class_range_error, divisor

MAX_IDENTITY_CLASSES = 1024  # for more classes, an identity matrix is too large to cache


class PositionTargets(NamedTuple):
    """The class and the weight of every position of y (N, C, ...).

    `classes`, `keep_mask` (1, or 0 where ignored) and `weight` (keep_mask times the class's weight) are (N, 1, ...).
    """

    classes: Tensor
    keep_mask: Tensor
    weight: Tensor

    def divisor(self, reduction: str) -> Tensor | int:
        """Return the divisor of the sum over all positions, never 0: for a mean, the sum of `weight`."""
        if reduction == "mean":  # if all positions are ignored, the loss is 0 instead of 0/0
            return self.weight.sum().clamp_min(torch.finfo(self.weight.dtype).tiny)
        return divisor(reduction, self.weight)


def target_values(loss: object, y: Tensor, target: Tensor) -> Tensor:
    """Return the target as values of y's shape and dtype.

    If y is (N, C, ...) and the target contains integer classes of shape (N, ...), they are one-hot encoded; for C = 1,
    the class axis is inserted instead. Raises PellucidError for other shapes, and for classes out of range.
    """
    if target.shape != y.shape:
        if not fits_without_classes(y.shape, target):
            raise PellucidError(
                f"{type(loss).__name__}: targets of shape {tuple(target.shape)} and dtype {target.dtype} do not fit "
                f"outputs of shape {tuple(y.shape)}; give one number for each output, or integer classes, y.long()"
            )
        target = target.unsqueeze(1) if y.shape[1] == 1 else one_hot(loss, target, y)
    return target if target.dtype is y.dtype else target.to(y.dtype)


def one_hot(loss: object, target: Tensor, y: Tensor, scale: float = 1.0) -> Tensor:
    """Return the one-hot encoding of classes (N, ...), times `scale`: (N, C, ...) in y's dtype."""
    n_classes = y.shape[1]
    flat_target = target.flatten() if target.dtype is torch.int64 else target.flatten().long()
    if n_classes <= MAX_IDENTITY_CLASSES:
        try:
            rows = scaled_identity(n_classes, scale, y.dtype, y.device).index_select(0, flat_target)
        except IndexError as error:
            raise class_range_error(loss, target, n_classes) from error
    else:
        # On other devices scatter_ raises an error, and this check would synchronize.
        if flat_target.device.type == "cpu" and bool(((flat_target < 0) | (flat_target >= n_classes)).any()):
            raise class_range_error(loss, target, n_classes)
        rows = y.new_zeros(len(flat_target), n_classes).scatter_(1, flat_target.unsqueeze(1), scale)
    return rows if y.dim() == 2 else rows.reshape(*target.shape, n_classes).movedim(-1, 1)


@lru_cache(maxsize=16)
def scaled_identity(n_classes: int, scale: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return `scale` times the identity matrix, cached between calls; do not modify it."""
    with torch.inference_mode(False):  # usable inside and outside inference mode
        return torch.eye(n_classes, dtype=dtype, device=device) * scale


@lru_cache(maxsize=16)
def class_weight_tensor(weights: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the class weights as a tensor, cached between calls; do not modify it."""
    with torch.inference_mode(False):  # usable inside and outside inference mode
        return torch.tensor(weights, dtype=dtype).to(device)


def class_weights_like(loss: object, weights: tuple[float, ...], y: Tensor, name: str = "class_weights") -> Tensor:
    """Return the class weights in the shape (C, 1, ...), which broadcasts to y (N, C, ...)."""
    n_classes = y.shape[1] if y.dim() > 1 else 0
    if len(weights) != n_classes:
        raise weight_count_error(loss, len(weights), n_classes, name)
    return class_weight_tensor(weights, y.dtype, y.device).view(-1, *(1,) * (y.dim() - 2))


def position_targets(
    loss: object, y: Tensor, target: Tensor, weights: tuple[float, ...] | None, ignore: int | None = None
) -> PositionTargets:
    """Return the class and the weight of each position of y (N, C, ...); target: classes (N, ...)."""
    if target.shape != y.shape[:1] + y.shape[2:] or has_value_dtype(target):
        raise PellucidError(
            f"{type(loss).__name__}: targets of shape {tuple(target.shape)} and dtype {target.dtype} do not fit "
            f"outputs of shape {tuple(y.shape)}; {advice_for(target, 'give one integer class for each position')}"
        )
    n_classes = y.shape[1]
    weight_by_class = class_weight_tensor(weights or (1.0,) * n_classes, y.dtype, y.device)
    if len(weight_by_class) != n_classes:
        raise weight_count_error(loss, len(weight_by_class), n_classes)
    target = target.long()
    keep_mask = torch.ones_like(target, dtype=y.dtype)
    if ignore is not None:
        is_ignored = target == ignore
        target = target.masked_fill(is_ignored, 0)
        keep_mask = keep_mask.masked_fill(is_ignored, 0)
    try:
        weight = weight_by_class.index_select(0, target.flatten()).view(target.shape) * keep_mask
    except IndexError as error:
        raise class_range_error(loss, target, n_classes) from error
    return PositionTargets(target.unsqueeze(1), keep_mask.unsqueeze(1), weight.unsqueeze(1))


def total_weight(target: Tensor, weights: tuple[float, ...] | None, ignore: int | None) -> float | Tensor:
    """Return the number of examples or, with class weights or `ignore`, the sum of the weights of all positions.

    target: classes (N, ...).
    """
    if weights is None and ignore is None:
        return float(len(target))
    keep_mask = torch.ones_like(target, dtype=torch.bool) if ignore is None else target != ignore
    if weights is None:
        total = keep_mask.sum()
    else:
        dtype = torch.float32 if target.device.type == "mps" else torch.float64  # mps has no float64
        weight_by_class = class_weight_tensor(weights, dtype, target.device)
        total = (weight_by_class[target.long().masked_fill(~keep_mask, 0)] * keep_mask).sum()
    return float(total) if target.device.type == "cpu" else total  # float() would synchronize with the device


def not_ignored_mask(target: Tensor, ignore: int | None) -> Tensor | None:
    """Return a mask (n,) of the classes that are not `ignore`; None without `ignore` and for other target shapes."""
    if ignore is None or target.dim() != 1 or has_value_dtype(target):
        return None
    return target != ignore


def has_value_dtype(target: Tensor) -> bool:
    """Return whether a target's dtype is floating-point, complex or bool, so it cannot contain class indices."""
    return target.is_floating_point() or target.is_complex() or target.dtype is torch.bool


def advice_for(targets: Tensor, advice: str) -> str:
    """Return the advice for targets that do not fit; for whole numbers stored as floats, how to make them integers."""
    are_whole = targets.is_floating_point() and targets.numel() > 0 and bool((targets == targets.round()).all())
    return "classes must be integers: give y.long(), or y.astype(int) of an array" if are_whole else advice


def fits_without_classes(shape: Shape, target: Tensor) -> bool:
    """Return whether a target without the class axis has the shape (N, ...) and a dtype for outputs (N, C, ...)."""
    return len(shape) >= 2 and target.shape == shape[:1] + shape[2:] and (shape[1] == 1 or not has_value_dtype(target))


def check_values(loss: object, outputs: Shape, targets: Tensor, value_range: tuple[float, float] | None = None) -> None:
    """Raise PellucidError unless targets are finite numbers within `value_range`, or class indices in range."""
    shape = (len(targets), *outputs)
    if targets.shape != shape and not fits_without_classes(shape, targets):
        raise PellucidError(
            f"{type(loss).__name__}: targets of shape {tuple(targets.shape[1:])} and dtype {targets.dtype} do not fit "
            f"a network that outputs {tuple(outputs)}; give one number for each output, or integer classes, y.long()"
        )
    if targets.shape != shape and outputs[0] > 1:
        check_indices(loss, targets, outputs[0], ignore=None)
        return
    if not bool(targets.isfinite().all()):
        raise PellucidError(f"{type(loss).__name__}: targets must be finite; look for NaN and infinity in the data")
    if value_range is not None and not bool(((targets >= value_range[0]) & (targets <= value_range[1])).all()):
        raise PellucidError(
            f"{type(loss).__name__}: targets must be from {value_range[0]:g} to {value_range[1]:g}, not "
            f"{targets.min().item():g} to {targets.max().item():g}; rescale them, or if they are numbers of classes, "
            "give the network an output for each class, and use SoftmaxCrossEntropy"
        )


def check_classes(
    loss: object, outputs: Shape, targets: Tensor, weights: tuple[float, ...] | None, ignore: int | None
) -> None:
    """Raise PellucidError unless targets are one class index, in range or `ignore`, for each position."""
    if not outputs or targets.shape[1:] != outputs[1:] or has_value_dtype(targets):
        raise PellucidError(
            f"{type(loss).__name__}: targets of shape {tuple(targets.shape[1:])} and dtype {targets.dtype} do not fit "
            f"a network that outputs {tuple(outputs)}; "
            + advice_for(targets, "give one integer class for each position")
        )
    if weights is not None and len(weights) != outputs[0]:
        raise weight_count_error(loss, len(weights), outputs[0])
    check_indices(loss, targets, outputs[0], ignore)


def check_indices(loss: object, targets: Tensor, n_classes: int, ignore: int | None) -> None:
    """Raise PellucidError unless targets are from 0 to n_classes - 1, or `ignore`."""
    included_targets = targets if ignore is None else targets[targets != ignore]
    if included_targets.numel() and (int(included_targets.min()) < 0 or int(included_targets.max()) >= n_classes):
        raise class_range_error(loss, included_targets, n_classes)


def check_weights(loss: object, weights: tuple[float, ...] | None) -> None:
    """Raise PellucidError unless weights are None, or a tuple of finite numbers of at least 0, not all 0."""
    if weights is None:
        return
    are_numbers = isinstance(weights, tuple) and all(map(is_number, weights))
    if not are_numbers or not all(0 <= weight < float("inf") for weight in weights) or not any(weights):
        raise PellucidError(
            f"{type(loss).__name__}: class_weights must be a tuple of numbers of at least 0, not all 0, not {weights!r}"
        )


def weight_count_error(loss: object, n_weights: int, n_classes: int, name: str = "class_weights") -> PellucidError:
    """Return the PellucidError for a wrong number of weights."""
    return PellucidError(
        f"{type(loss).__name__}: {n_weights} {name} for {plural(n_classes, 'class', 'classes')}; give one for "
        "each class"
    )


class ClassLoss(Loss):
    """A loss of integer classes (N, ...) with the fields `class_weights`, `ignore` and `reduction`."""

    class_weights: tuple[float, ...] | None
    ignore: int | None
    reduction: Reduction

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Raise PellucidError unless targets are class indices in range, or `ignore`."""
        check_classes(self, outputs, targets, self.class_weights, self.ignore)

    def total_weight(self, target: Tensor) -> float | Tensor:
        """Return the number of examples, or for a mean the sum of their weights."""
        if self.reduction != "mean":
            return super().total_weight(target)
        return total_weight(target, self.class_weights, self.ignore)

    def valid_mask(self, target: Tensor) -> Tensor | None:
        """Return a mask (n,) of the examples whose class is not `ignore`; None for all and for other target shapes."""
        return not_ignored_mask(target, self.ignore)
