"""The quadratic loss."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pellucid.layers.base import Shape
from pellucid.losses.base import Loss, Reduction, check_reduction, fraction, shares
from pellucid.losses.targets import check_numbers, numbers


@dataclass(frozen=True)
class Quadratic(Loss):
    """Half the squared distance: C = 1/2n Σ ‖a - y‖², dC/da = (a - y) / n, where n counts the examples.

    y (N, ...) and target alike, or integer classes (N, ...) for y (N, C, ...). `reduction` "batch" sums over the
    outputs and takes the mean over the batch, "mean" takes the mean over both, "sum" neither.
    Source: Nielsen 2015, equation 6.
    """

    metrics: ClassVar[tuple[str, ...]] = ("mae",)

    reduction: Reduction = "batch"

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown reduction."""
        check_reduction(self, self.reduction)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        n = shares(self.reduction, y)
        delta = y - numbers(self, y, target)  # (N, ...)
        flat = delta.flatten()
        return flat.dot(flat) * fraction(0.5, n, y.dtype), delta * fraction(1.0, n, y.dtype)

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Require finite numbers in the network's output shape, or classes."""
        check_numbers(self, outputs, targets)

    def predict(self, y: Tensor) -> Tensor:
        """Return y: the output is the prediction."""
        return y
