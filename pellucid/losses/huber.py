"""The Huber loss."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pellucid.layers.base import Shape
from pellucid.losses.base import Loss, Reduction, check_positive, check_reduction, fraction, shares
from pellucid.losses.targets import check_numbers, numbers


@dataclass(frozen=True)
class Huber(Loss):
    """Quadratic up to `delta`, linear beyond: d²/2 where |d| <= delta, else delta (|d| - delta/2), d = y - target.

    Its gradient is d, cut off at ±delta, over n. y (N, ...) and target alike, or integer classes (N, ...) for
    y (N, C, ...). `reduction` "mean" takes the mean over outputs and batch, "batch" sums over the outputs and takes
    the mean over the batch, "sum" neither. Source: Huber 1964, Robust estimation of a location parameter.
    """

    metrics: ClassVar[tuple[str, ...]] = ("mae",)

    delta: float = 1.0
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown reduction or a delta that is not above 0."""
        check_positive(self, delta=self.delta)
        check_reduction(self, self.reduction)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        share = fraction(1.0, shares(self.reduction, y), y.dtype)
        d = y - numbers(self, y, target)  # (N, ...)
        slope = d.clamp(-self.delta, self.delta)
        return (slope * (d - slope / 2)).sum() * share, slope * share  # slope (d - slope/2) is both branches at once

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Require finite numbers in the network's output shape, or classes."""
        check_numbers(self, outputs, targets)

    def predict(self, y: Tensor) -> Tensor:
        """Return y: the output is the prediction."""
        return y
