"""The cross-entropy of independent yes-or-no outputs."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers.base import Shape
from pellucid.losses.base import Loss, Reduction, check_positive, check_reduction, fraction, shares
from pellucid.losses.targets import check_numbers, numbers


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """The cross-entropy of a = sigmoid(y): C = -1/n Σ [p t ln a + (1 - t) ln(1 - a)], t the target, p `pos_weight`.

    It contains the sigmoid, so the network ends without one; the two together have the gradient dy = (a - t) / n for
    p = 1, which does not vanish where the sigmoid is flat, and neither overflows nor divides. y (N, ...) and target
    alike with targets in [0, 1], or integer classes (N, ...) for y (N, C, ...). `reduction` "batch" sums over the
    outputs and takes the mean over the batch, "mean" takes the mean over both, "sum" neither. `pos_weight` makes a
    yes count so much more than a no. Source: Nielsen 2015, equations 63 and 67.
    """

    pos_weight: float = 1.0
    reduction: Reduction = "batch"

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown reduction or a pos_weight that is not above 0."""
        check_positive(self, pos_weight=self.pos_weight)
        check_reduction(self, self.reduction)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        share = fraction(1.0, shares(self.reduction, y), y.dtype)
        target = numbers(self, y, target)
        a = y.sigmoid()  # (N, ...)
        if self.pos_weight == 1:
            value = torch.binary_cross_entropy_with_logits(y, target, None, None, 2)  # 2 is the sum
            return value * share, (a - target) * share
        yes = target * self.pos_weight
        value = (yes * F.softplus(-y, threshold=50) + (1 - target) * F.softplus(y, threshold=50)).sum()
        return value * share, (a * (yes + 1 - target) - yes) * share

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Require numbers from 0 to 1 in the network's output shape, or classes."""
        check_numbers(self, outputs, targets, (0.0, 1.0))

    def predict(self, y: Tensor) -> Tensor:
        """Return the probability of yes for each output."""
        return y.sigmoid()
