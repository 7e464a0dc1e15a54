"""The absolute error."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pellucid.layers.base import Shape
from pellucid.losses.base import Loss, Reduction, check_reduction, fraction, shares
from pellucid.losses.targets import check_numbers, numbers


@dataclass(frozen=True)
class L1(Loss):
    """The absolute error: C = 1/n Σ |y - target|, dy = sign(y - target) / n, which is 0 where they are equal.

    y (N, ...) and target alike, or integer classes (N, ...) for y (N, C, ...). `reduction` "mean" takes the mean
    over outputs and batch, "batch" sums over the outputs and takes the mean over the batch, "sum" neither.
    Source: Laplace's least absolute deviations, as in Goodfellow, Bengio and Courville 2016, section 6.2.1.2.
    """

    metrics: ClassVar[tuple[str, ...]] = ("mae",)

    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown reduction."""
        check_reduction(self, self.reduction)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        share = fraction(1.0, shares(self.reduction, y), y.dtype)
        delta = y - numbers(self, y, target)  # (N, ...)
        return delta.abs().sum() * share, delta.sign() * share

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Require finite numbers in the network's output shape, or classes."""
        check_numbers(self, outputs, targets)

    def predict(self, y: Tensor) -> Tensor:
        """Return y: the output is the prediction."""
        return y
