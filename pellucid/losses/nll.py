"""The negative log-likelihood."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.base.settings.checks import check_choice
from pellucid.losses.base import REDUCTIONS, Reduction
from pellucid.losses.targets import ClassLoss, check_weights, position_targets


@dataclass(frozen=True)
class NegativeLogLikelihood(ClassLoss):
    """The mean of -y at the target's class, for log-probabilities y of networks that end in LogSoftmax.

    y is (N, C) or (N, C, ...), targets are integer classes (N, ...). With `class_weights`, one for each class, the mean
    is weighted by the weights of the targets' classes. Positions of class `ignore` are excluded from sum and mean.
    `reduction` "batch" sums over the positions and averages over the batch, "sum" sums over both.
    Source: Goodfellow, Bengio and Courville 2016, section 5.5.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    class_weights: tuple[float, ...] | None = None
    ignore: int | None = None
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        """Raise PellucidError for weights that are negative or all 0, or an unknown reduction."""
        check_weights(self, self.class_weights)
        check_choice(self, REDUCTIONS, reduction=self.reduction)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        targets = position_targets(self, y, target, self.class_weights, self.ignore)
        slope = targets.weight / -targets.divisor(self.reduction)  # (N, 1, ...)
        return (y.gather(1, targets.classes) * slope).sum(), torch.zeros_like(y).scatter_(1, targets.classes, slope)

    def predict(self, y: Tensor) -> Tensor:
        """Return the probability of each class."""
        return y.exp()
