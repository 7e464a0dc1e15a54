"""The cross-entropy of independent yes-or-no outputs."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import PellucidError
from pellucid.layers.base import Shape
from pellucid.losses.base import Loss, Reduction, check_positive, check_reduction, fraction, shares
from pellucid.losses.targets import by_class, check_numbers, check_weights, numbers, wrong_weights


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """The cross-entropy of a = sigmoid(y): C = -1/n Σ w [p t ln a + (1 - t) ln(1 - a)], with t the target.

    p is `pos_weight` and w the output's of `class_weights`, both 1 unless given. It contains the sigmoid, so the
    network ends without one; the two together have the gradient dy = (a - t) / n for p = w = 1, which does not vanish
    where the sigmoid is flat, and neither overflows nor divides. y (N, ...) and target alike with targets in [0, 1],
    or integer classes (N, ...) for y (N, C, ...). `reduction` "batch" sums over the outputs and takes the mean over
    the batch, "mean" takes the mean over both, "sum" neither. `pos_weight`, a number or one for each of the C
    outputs, makes a yes count so much more than a no; `class_weights`, one for each of the C outputs, multiply what
    an output costs and do not change what a mean divides by.
    Source: Nielsen 2015, equations 63 and 67.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    pos_weight: float | tuple[float, ...] = 1.0
    reduction: Reduction = "batch"
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown reduction, a pos_weight not above 0, or negative class_weights."""
        if self.pos_weight == ():
            raise PellucidError("BinaryCrossEntropy: pos_weight must be a number or one for each output, not ()")
        for weight in self.pos_weight if isinstance(self.pos_weight, tuple) else (self.pos_weight,):
            check_positive(self, pos_weight=weight)
        check_reduction(self, self.reduction)
        check_weights(self, self.class_weights)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        share = fraction(1.0, shares(self.reduction, y), y.dtype)
        target = numbers(self, y, target)
        a = y.sigmoid()  # (N, ...)
        if self.pos_weight == 1 and self.class_weights is None:
            value = torch.binary_cross_entropy_with_logits(y, target, None, None, 2)  # 2 is the sum
            return value * share, (a - target) * share
        yes, no = target, 1 - target
        if isinstance(self.pos_weight, tuple):
            yes = yes * by_class(self, self.pos_weight, y, "pos_weight")
        else:
            yes = yes * self.pos_weight
        cost = yes * F.softplus(-y, threshold=50) + no * F.softplus(y, threshold=50)
        slope = a * (yes + no) - yes
        if self.class_weights is not None:
            weights = by_class(self, self.class_weights, y)
            cost, slope = cost * weights, slope * weights
        return cost.sum() * share, slope * share

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Raise PellucidError unless targets are in [0, 1] and of the output shape, or class indices."""
        check_numbers(self, outputs, targets, (0.0, 1.0))
        for name, weights in (("pos_weight", self.pos_weight), ("class_weights", self.class_weights)):
            if isinstance(weights, tuple) and outputs[:1] != (len(weights),):
                raise wrong_weights(self, len(weights), outputs[0] if outputs else 0, name)

    def predict(self, y: Tensor) -> Tensor:
        """Return the probability of yes for each output."""
        return y.sigmoid()
