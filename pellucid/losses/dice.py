"""The Dice loss."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Shape
from pellucid.losses.base import Loss
from pellucid.losses.targets import check_classes, check_weights, class_table, kept, pick


class Pieces(NamedTuple):
    """p: (N, C, ...), probabilities, 0 where the position is ignored; cost: (1, C, ...); dy = p slope."""

    p: Tensor
    cost: Tensor
    slope: Tensor


@dataclass(frozen=True)
class Dice(Loss):
    """1 - the mean over the classes of 2 Σ p t / (Σ p + Σ t), with p the softmax of y and t the one-hot target.

    The sums are over all positions of the batch, those of class `ignore` left out, and the mean is over the classes
    that occur in its targets, weighted by `class_weights`: small classes count as much as large ones. It contains the
    softmax, so the network ends without one. y is (N, C) or (N, C, ...), targets are integer classes (N, ...).
    A batch of ignored positions costs 0.
    Source: Milletari, Navab and Ahmadi 2016, section 3, with the sums of Sudre et al. 2017 in place of squares.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    class_weights: tuple[float, ...] | None = None
    ignore: int | None = None

    def __post_init__(self) -> None:
        """Raise PellucidError for weights that are negative or all 0."""
        check_weights(self, self.class_weights)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        it = self.pieces(y, target)
        return it.cost.sum(), it.p * it.slope

    def pieces(self, y: Tensor, target: Tensor) -> Pieces:
        """Return the cost of each class and what is left of dy without the factor p.

        With I = Σ p t and U = Σ p + Σ t of a class, dp = dC/dp = -2 w (t U - I) / U² / Σ w where the position is kept,
        and the softmax takes it back: dy = p (dp - Σ_k p_k dp_k).
        """
        picks = pick(self, y, target, None, self.ignore)
        keep = picks.keep  # (N, 1, ...)
        p = y.softmax(1) * keep  # (N, C, ...)
        t = torch.zeros_like(y).scatter_(1, picks.classes, keep)
        axes = [0, *range(2, y.dim())]
        there = t.sum(axes, keepdim=True)  # (1, C, ...)
        both, total = (p * t).sum(axes, keepdim=True), p.sum(axes, keepdim=True) + there
        weight = (there > 0).to(y.dtype)
        if self.class_weights is not None:
            weight = weight * class_table(self.class_weights, y.dtype, y.device).view_as(weight)
        weight = weight / weight.sum().clamp_min(torch.finfo(y.dtype).tiny)
        total = torch.where(there > 0, total, 1.0)
        dp = -2 * weight * (t * total - both) / total**2
        return Pieces(p, weight * (1 - 2 * both / total), dp - (p * dp).sum(1, keepdim=True))

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Raise PellucidError for class indices out of range."""
        check_classes(self, outputs, targets, self.class_weights, self.ignore)

    def kept(self, target: Tensor) -> Tensor | None:
        """Return the examples (n,) of other classes than `ignore`; None for all, and for several positions each."""
        return kept(target, self.ignore)

    def predict(self, y: Tensor) -> Tensor:
        """Return the probability of each class."""
        return y.softmax(1)
