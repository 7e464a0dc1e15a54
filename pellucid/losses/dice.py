"""The Dice loss."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Shape
from pellucid.losses.base import Loss
from pellucid.losses.targets import (
    check_classes,
    check_weights,
    class_weight_tensor,
    not_ignored_mask,
    position_targets,
)


class DicePieces(NamedTuple):
    """The terms of the loss.

    p: (N, C, ...), probabilities, 0 at ignored positions. cost: (1, C, ...), whose sum is the loss. slope: (N, C, ...),
    the factor in dy = p slope.
    """

    p: Tensor
    cost: Tensor
    slope: Tensor


@dataclass(frozen=True)
class Dice(Loss):
    """1 - the mean over the classes of 2 Σ p t / (Σ p + Σ t), where p is the softmax of y and t the one-hot target.

    The sums are over all positions of the batch except those of class `ignore`. The mean is over the classes that occur
    in the targets, weighted by `class_weights`; the number of positions of a class does not affect its weight. The loss
    contains the softmax, so the network ends without one. y is (N, C) or (N, C, ...), targets are integer classes
    (N, ...). If all positions are ignored, the loss is 0.
    Source: Milletari, Navab and Ahmadi 2016, section 3, with the sums of Sudre et al. 2017 instead of sums of squares.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    indivisible: ClassVar[str] = "the Dice loss is a ratio of sums over all positions of a batch"

    class_weights: tuple[float, ...] | None = None
    ignore: int | None = None

    def __post_init__(self) -> None:
        """Raise PellucidError for weights that are negative or all 0."""
        check_weights(self, self.class_weights)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        terms = self.pieces(y, target)
        return terms.cost.sum(), terms.p * terms.slope

    def pieces(self, y: Tensor, target: Tensor) -> DicePieces:
        """Return the cost of each class, and dy without its factor p.

        With I = Σ p t and U = Σ p + Σ t of a class, dp = dC/dp = -2 w (t U - I) / U² / Σ w at positions that are not
        ignored. Backpropagation through the softmax results in dy = p (dp - Σ_k p_k dp_k).
        """
        targets = position_targets(self, y, target, weights=None, ignore=self.ignore)
        keep_mask = targets.keep_mask  # (N, 1, ...)
        p = y.softmax(1) * keep_mask  # (N, C, ...)
        t = torch.zeros_like(y).scatter_(1, targets.classes, keep_mask)
        axes = [0, *range(2, y.dim())]
        target_sum = t.sum(axes, keepdim=True)  # (1, C, ...)
        intersection, total = (p * t).sum(axes, keepdim=True), p.sum(axes, keepdim=True) + target_sum
        weight = (target_sum > 0).to(y.dtype)
        if self.class_weights is not None:
            weight = weight * class_weight_tensor(self.class_weights, y.dtype, y.device).view_as(weight)
        weight = weight / weight.sum().clamp_min(torch.finfo(y.dtype).tiny)
        total = torch.where(target_sum > 0, total, 1.0)
        dp = -2 * weight * (t * total - intersection) / total**2
        return DicePieces(p, weight * (1 - 2 * intersection / total), dp - (p * dp).sum(1, keepdim=True))

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Raise PellucidError for class indices out of range."""
        check_classes(self, outputs, targets, self.class_weights, self.ignore)

    def valid_mask(self, target: Tensor) -> Tensor | None:
        """Return a mask (n,) of the examples whose class is not `ignore`; None for all and for other target shapes."""
        return not_ignored_mask(target, self.ignore)

    def predict(self, y: Tensor) -> Tensor:
        """Return the probability of each class."""
        return y.softmax(1)
