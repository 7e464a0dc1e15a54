"""The quality focal loss for targets that are qualities from 0 to 1."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from pellucid.base.settings.checks import check, check_choice, is_number
from pellucid.layers.base import Shape
from pellucid.losses.base import REDUCTIONS, Loss, Reduction, divisor, fraction_tensor
from pellucid.losses.targets import check_values, target_values


@dataclass(frozen=True)
class QualityFocal(Loss):
    """The binary cross-entropy of a = sigmoid(y) and target t, times |t - a|^beta.

    With the factor, outputs close to their targets contribute less. The loss contains the sigmoid, so the network ends
    without one. y is (N, ...). Targets have the shape of y and values from 0 to 1: in a detector, the IoU of the
    predicted box for the object's class, and 0 for other classes. Or they are integer classes (N, ...) for y
    (N, C, ...), as in a sigmoid focal loss. `reduction` "mean" averages over outputs and batch, "batch" sums over the
    outputs and averages over the batch, "sum" sums over both. Source: Li et al. 2020 (generalized focal loss),
    equation 2.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    multilabel: ClassVar[bool] = True

    beta: float = 2.0
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        """Raise PellucidError for a beta below 1, at which the slope would be infinite, or an unknown reduction."""
        check(is_number(self.beta) and self.beta >= 1, "QualityFocal: beta", "at least 1", self.beta)
        check_choice(self, REDUCTIONS, reduction=self.reduction)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        scale = fraction_tensor(1.0, divisor(self.reduction, y), y.dtype)
        cost, slope = self.pieces(y, target_values(self, y, target))
        return cost.sum() * scale, slope * scale

    def pieces(self, y: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cost of each output and its derivative, both of y's shape.

        With the error e = a - t and the cross-entropy h, dh/dy = e and de/dy = a (1 - a):
        d/dy |e|^beta h = |e|^beta e + beta |e|^(beta - 1) sign(e) a (1 - a) h.
        """
        a = y.sigmoid()
        cross_entropy = F.softplus(y, threshold=50) - t * y
        error = a - t
        abs_error = error.abs()
        factor = abs_error**self.beta
        dfactor = self.beta * abs_error ** (self.beta - 1) * error.sign() * a * (1 - a)
        return factor * cross_entropy, factor * error + dfactor * cross_entropy

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Raise PellucidError unless targets are in [0, 1] and of the output shape, or class indices."""
        check_values(self, outputs, targets, (0.0, 1.0))

    def predict(self, y: Tensor) -> Tensor:
        """Return the predicted quality (for class targets, the probability) of each output."""
        return y.sigmoid()
