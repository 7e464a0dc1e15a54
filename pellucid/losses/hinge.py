"""The margin loss of linear classifiers and support vector machines."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_choice, check_range
from pellucid.layers.base import Shape
from pellucid.losses.base import REDUCTIONS, Loss, Reduction, divisor, fraction_tensor
from pellucid.losses.targets import check_classes, check_weights, position_targets


@dataclass(frozen=True)
class Hinge(Loss):
    """The multi-class hinge loss, Σ_{j≠t} max(0, margin - y_t + y_j)^power for the target class t.

    y is (N, C), targets are integer classes (N,). `power` is 1, or 2 for the squared hinge. The gradient is 0 for a
    class whose score is exactly `margin` below y_t. `class_weights`, one for each class, multiply the losses of the
    examples of the class. `reduction`: "mean" averages over classes and batch, without division by the sum of the
    weights; "batch" sums over the classes and averages over the batch; "sum" sums over both.
    Source: Weston and Watkins 1999, Support vector machines for multi-class pattern recognition, equation 6.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    margin: float = 1.0
    power: Literal[1, 2] = 1
    class_weights: tuple[float, ...] | None = None
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        """Raise PellucidError for a margin not above 0, a power other than 1 and 2, invalid weights or reduction."""
        check_range(self, exclude_low=True, margin=self.margin)
        check(self.power in (1, 2), "Hinge: power", "1 or 2", self.power)
        check_weights(self, self.class_weights)
        check_choice(self, REDUCTIONS, reduction=self.reduction)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        scale = fraction_tensor(1.0, divisor(self.reduction, y), y.dtype)
        index, _, weight = position_targets(self, y, target, self.class_weights)  # (N, 1)
        violation = (y - y.gather(1, index) + self.margin).clamp_min(0).scatter(1, index, 0)  # (N, C), 0 for class t
        if self.power == 1:
            cost, slope = violation, (violation > 0) * weight
        else:
            cost, slope = violation * violation, 2 * violation * weight
        return (cost * weight).sum() * scale, slope.scatter(1, index, -slope.sum(1, keepdim=True)) * scale

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Raise PellucidError unless the network has two or more outputs and all class indices are in range."""
        if len(outputs) != 1 or outputs[0] < 2:
            raise PellucidError(f"Hinge: the network must output a score for each class, not {tuple(outputs)}")
        check_classes(self, outputs, targets, self.class_weights, ignore=None)
