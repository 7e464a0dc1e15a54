"""The focal loss."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from pellucid.base.settings.checks import check, check_choice, is_number
from pellucid.losses.base import REDUCTIONS, Reduction
from pellucid.losses.targets import ClassLoss, check_weights, position_targets


class FocalPieces(NamedTuple):
    """The terms of the loss.

    log_a: (N, C, ...), logarithm of the softmax a. classes: (N, 1, ...), class indices. cost: (N, 1, ...), whose sum is
    the loss. slope: (N, 1, ...), the factor in dy = slope (t - a).
    """

    log_a: Tensor
    classes: Tensor
    cost: Tensor
    slope: Tensor


@dataclass(frozen=True)
class Focal(ClassLoss):
    """The mean of -w (1 - p)^gamma ln p, where p is the softmax's probability of the target's class.

    The loss contains the softmax, so the network ends without one. With gamma = 0 it is SoftmaxCrossEntropy; with a
    larger gamma, well-classified positions contribute less. y is (N, C) or (N, C, ...), targets are integer classes
    (N, ...). w is the weight of the target's class in `class_weights`, by default 1; the mean is weighted by w.
    Positions of class `ignore` are excluded from sum and mean. `reduction` "batch" sums over the positions and averages
    over the batch, "sum" sums over both.
    Source: Lin, Goyal, Girshick, He and Dollar 2017, equations 4 and 5, with a softmax over the classes.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    gamma: float = 2.0
    class_weights: tuple[float, ...] | None = None
    ignore: int | None = None
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        """Raise PellucidError for a gamma that is neither 0 nor at least 1, invalid weights or an unknown reduction."""
        is_valid = is_number(self.gamma) and (self.gamma == 0 or self.gamma >= 1)
        check(is_valid, "Focal: gamma", "0 or at least 1", self.gamma)
        check_weights(self, self.class_weights)
        check_choice(self, REDUCTIONS, reduction=self.reduction)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        terms = self.pieces(y, target)
        return terms.cost.sum(), (terms.log_a.exp() * -terms.slope).scatter_add(1, terms.classes, terms.slope)

    def pieces(self, y: Tensor, target: Tensor) -> FocalPieces:
        """Return the cost and the slope of each position.

        With f(p) = -(1 - p)^gamma ln p and dp/dy_k = p (t_k - a_k), where t is one-hot and a the softmax:
        dy_k = w p f'(p) (t_k - a_k) and p f'(p) = gamma p (1 - p)^(gamma - 1) ln p - (1 - p)^gamma.
        """
        targets = position_targets(self, y, target, self.class_weights, self.ignore)
        log_a = y.log_softmax(1)
        weight = targets.weight / targets.divisor(self.reduction)
        log_p = log_a.gather(1, targets.classes)
        p, one_minus_p = log_p.exp(), -log_p.expm1()  # expm1 avoids the cancellation of 1 - p
        modulating_factor = one_minus_p**self.gamma
        slope = -modulating_factor
        if self.gamma:
            slope = slope + self.gamma * p * one_minus_p ** (self.gamma - 1) * log_p
        return FocalPieces(log_a, targets.classes, -modulating_factor * log_p * weight, slope * weight)

    def predict(self, y: Tensor) -> Tensor:
        """Return the probability of each class."""
        return y.softmax(1)
