"""The cross-entropy of mutually exclusive classes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_choice, is_number
from pellucid.layers.base import Shape
from pellucid.losses.base import REDUCTIONS, Reduction, fraction_tensor, position_divisor
from pellucid.losses.targets import (
    MAX_IDENTITY_CLASSES,
    ClassLoss,
    advice_for,
    check_weights,
    class_weights_like,
    one_hot,
    position_targets,
    weight_count_error,
)


@dataclass(frozen=True)
class SoftmaxCrossEntropy(ClassLoss):
    """The cross-entropy of a = softmax(y) over axis 1: C = -1/n Σ ln a_t, dy = (a - t) / n.

    The loss contains the softmax, so the network ends without one. y is (N, C) or (N, C, ...), n is the number of
    positions; targets are integer classes (N, ...) or probabilities of y's shape. `label_smoothing` e replaces a target
    t by (1 - e) t + e / C. `class_weights`, one for each class, multiply the term of each class; the divisor of the
    mean is then the sum of the targets' weights for integer targets, and n for probabilities. Positions of class
    `ignore` are excluded from sum and mean. `reduction` "batch" sums over the positions and averages over the batch,
    "sum" sums over both.
    Source: Nielsen 2015, equations 78 to 82; smoothing: Szegedy et al. 2016, section 7.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    ignore: int | None = None
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        """Raise PellucidError for a smoothing outside [0, 1], invalid class weights or an unknown reduction."""
        is_valid = is_number(self.label_smoothing) and 0 <= self.label_smoothing <= 1
        check(is_valid, "SoftmaxCrossEntropy: label_smoothing", "from 0 to 1", self.label_smoothing)
        check_weights(self, self.class_weights)
        check_choice(self, REDUCTIONS, reduction=self.reduction)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        if target.is_floating_point():
            return self._weighted_loss(y, self._soft_target_weights(y, target))
        if self.label_smoothing:
            return self._weighted_loss(y, self._smoothed_target_weights(y, target))
        is_weighted = self.class_weights is not None or self.ignore is not None or self.reduction == "sum"
        if is_weighted or y.dim() != 2 or y.shape[1] > MAX_IDENTITY_CLASSES:
            return self._weighted_class_loss(y, target)
        return self._unweighted_class_loss(y, target)

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Raise PellucidError unless targets are class indices in range or probabilities that sum to 1."""
        if not targets.is_floating_point():
            super().check(outputs, targets)
            return
        if not outputs or targets.shape[1:] != outputs:
            raise _soft_target_error(targets, targets.shape[1:], outputs)
        if self.class_weights is not None and len(self.class_weights) != outputs[0]:
            raise weight_count_error(self, len(self.class_weights), outputs[0])
        sums = targets.float().sum(1)
        if bool((targets < 0).any()) or not bool(((sums - 1).abs() < 1e-3).all()):
            raise PellucidError(
                "SoftmaxCrossEntropy: targets in floating point must be probabilities that sum to 1; "
                "normalize them, give integer classes, or, if several classes are true at once, use BinaryCrossEntropy"
            )

    def total_weight(self, target: Tensor) -> float | Tensor:
        """Return the weight of a batch in a mean over batches; for probabilities, its number of examples."""
        return float(len(target)) if target.is_floating_point() else super().total_weight(target)

    def predict(self, y: Tensor) -> Tensor:
        """Return the probability of each class."""
        return y.softmax(1)

    def _unweighted_class_loss(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss of integer targets without weights, which needs fewer operations and is used most often."""
        n = y.shape[0]
        if target.shape != y.shape[:1]:
            raise _class_target_error(target, y)
        minus_t = one_hot(self, target, y, -1 / n)  # (N, C), -1/n for the target's class, otherwise 0
        log_a = y.log_softmax(1)  # (N, C)
        value = F.nll_loss(log_a, target if target.dtype is torch.int64 else target.long())
        return value, torch.add(minus_t, log_a.exp(), alpha=1 / n)

    def _weighted_class_loss(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss of integer targets with weights or ignored positions."""
        targets = position_targets(self, y, target, self.class_weights, self.ignore)
        log_a = y.log_softmax(1)  # (N, C, ...)
        scale = targets.weight / targets.divisor(self.reduction)  # (N, 1, ...)
        negative_scale = -scale
        value = (log_a.gather(1, targets.classes) * negative_scale).sum()
        return value, (log_a.exp() * scale).scatter_add(1, targets.classes, negative_scale)

    def _weighted_loss(self, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Compute C = -Σ w ln a and dy = a Σ w - w for `weights` w (N, C, ...) of the outputs."""
        log_a = y.log_softmax(1)
        return -(weights * log_a).sum(), log_a.exp() * weights.sum(1, keepdim=True) - weights

    def _smoothed_target_weights(self, y: Tensor, target: Tensor) -> Tensor:
        """Return the weight of each output for integer targets, with smoothing and class weights: (N, C, ...)."""
        targets = position_targets(self, y, target, self.class_weights, self.ignore)
        uniform = (self.label_smoothing / y.shape[1]) * targets.keep_mask.expand_as(y)  # (N, C, ...)
        weights = self._apply_class_weights(uniform).scatter_add(
            1, targets.classes, (1 - self.label_smoothing) * targets.weight
        )
        return weights / targets.divisor(self.reduction)

    def _soft_target_weights(self, y: Tensor, target: Tensor) -> Tensor:
        """Return the weight of each output for soft targets, with smoothing and class weights: (N, C, ...)."""
        if target.shape != y.shape or y.dim() < 2:
            raise _soft_target_error(target, target.shape, y.shape)
        target = target.to(y.dtype)
        if self.label_smoothing:
            target = target * (1 - self.label_smoothing) + self.label_smoothing / y.shape[1]
        return self._apply_class_weights(target) * fraction_tensor(1.0, position_divisor(self.reduction, y), y.dtype)

    def _apply_class_weights(self, terms: Tensor) -> Tensor:
        """Multiply the terms (N, C, ...) by the weights of their classes, if there are class weights."""
        return terms if self.class_weights is None else terms * class_weights_like(self, self.class_weights, terms)


def _soft_target_error(target: Tensor, target_shape: Shape, outputs: Shape) -> PellucidError:
    advice = advice_for(target, "give a probability for each output, or integer classes")
    return PellucidError(
        f"SoftmaxCrossEntropy: targets in floating point of shape {tuple(target_shape)} do not fit outputs of shape "
        f"{tuple(outputs)}; {advice}"
    )


def _class_target_error(target: Tensor, y: Tensor) -> PellucidError:
    return PellucidError(
        f"SoftmaxCrossEntropy: targets of shape {tuple(target.shape)} do not fit outputs of shape "
        f"{tuple(y.shape)}; give one integer class for each row"
    )
