"""The margin loss of linear classifiers and support vector machines."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Shape
from pellucid.losses.base import Loss, Reduction, check_positive, check_reduction, fraction, shares
from pellucid.losses.targets import check_classes, check_weights, pick


@dataclass(frozen=True)
class Hinge(Loss):
    """Every other class's score must stay `margin` below the right one's: Σ_{j≠t} max(0, margin - y_t + y_j)^power.

    y is (N, C), targets are integer classes (N,). `power` is 1, or 2 for the squared hinge. The gradient of a class
    that keeps the margin exactly is 0. `class_weights`, one for each class, multiply what an example of the class
    costs. `reduction` "mean" takes the mean over classes and batch, whatever the weights; "batch" sums over the
    classes and takes the mean over the batch, "sum" neither.
    Source: Weston and Watkins 1999, Support vector machines for multi-class pattern recognition, equation 6.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    margin: float = 1.0
    power: Literal[1, 2] = 1
    class_weights: tuple[float, ...] | None = None
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        """Raise PellucidError for a margin not above 0, a power other than 1 and 2, bad weights, unknown reduction."""
        check_positive(self, margin=self.margin)
        if self.power not in (1, 2):
            raise PellucidError(f"Hinge: power must be 1 or 2, not {self.power!r}")
        check_weights(self, self.class_weights)
        check_reduction(self, self.reduction)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        share = fraction(1.0, shares(self.reduction, y), y.dtype)
        index, _, weight = pick(self, y, target, self.class_weights)  # (N, 1)
        short = (y - y.gather(1, index) + self.margin).clamp_min(0).scatter(1, index, 0)  # (N, C), 0 at the class
        if self.power == 1:
            cost, slope = short, (short > 0) * weight
        else:
            cost, slope = short * short, 2 * short * weight
        return (cost * weight).sum() * share, slope.scatter(1, index, -slope.sum(1, keepdim=True)) * share

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Require classes that exist, and at least two of them."""
        if len(outputs) != 1 or outputs[0] < 2:
            raise PellucidError(f"Hinge: the network must output a score for each class, not {tuple(outputs)}")
        check_classes(self, outputs, targets, self.class_weights, None)

    def predict(self, y: Tensor) -> Tensor:
        """Return y: the score of each class."""
        return y
