"""The cross-entropy of independent binary outputs."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_choice, check_range
from pellucid.layers.base import Shape
from pellucid.losses.base import REDUCTIONS, Loss, Reduction, divisor, fraction_tensor
from pellucid.losses.targets import check_values, check_weights, class_weights_like, target_values, weight_count_error


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """The cross-entropy of a = sigmoid(y): C = -1/n Σ w [p t ln a + (1 - t) ln(1 - a)] for targets t.

    p is `pos_weight` and w the output's entry in `class_weights`, both 1 by default. The loss contains the sigmoid, so
    the network ends without one. For p = w = 1 the gradient is dy = (a - t) / n, which does not vanish where the
    sigmoid saturates, and the computation does not overflow. Targets are in [0, 1] and have the shape of y (N, ...),
    or are integer classes (N, ...) for y (N, C, ...). `reduction` "batch" sums over the outputs and averages over the
    batch, "mean" averages over both, "sum" sums over both. `pos_weight`, one number or one for each of the C outputs,
    multiplies the term of positive targets. `class_weights`, one for each of the C outputs, multiply the loss of an
    output, without a change of the divisor of a mean.
    Source: Nielsen 2015, equations 63 and 67.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    multilabel: ClassVar[bool] = True

    pos_weight: float | tuple[float, ...] = 1.0
    reduction: Reduction = "batch"
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown reduction, a pos_weight not above 0, or invalid class_weights."""
        if self.pos_weight == ():
            raise PellucidError("BinaryCrossEntropy: pos_weight must be a number or one for each output, not ()")
        for weight in self.pos_weight if isinstance(self.pos_weight, tuple) else (self.pos_weight,):
            check_range(self, exclude_low=True, pos_weight=weight)
        check_choice(self, REDUCTIONS, reduction=self.reduction)
        check_weights(self, self.class_weights)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        scale = fraction_tensor(1.0, divisor(self.reduction, y), y.dtype)
        target = target_values(self, y, target)
        a = y.sigmoid()  # (N, ...)
        if self.pos_weight == 1 and self.class_weights is None:
            value = torch.binary_cross_entropy_with_logits(y, target, None, None, 2)  # 2 is the sum
            return value * scale, (a - target) * scale
        positive, negative = target, 1 - target
        if isinstance(self.pos_weight, tuple):
            positive = positive * class_weights_like(self, self.pos_weight, y, "pos_weight")
        else:
            positive = positive * self.pos_weight
        cost = positive * F.softplus(-y, threshold=50) + negative * F.softplus(y, threshold=50)
        slope = a * (positive + negative) - positive
        if self.class_weights is not None:
            weights = class_weights_like(self, self.class_weights, y)
            cost, slope = cost * weights, slope * weights
        return cost.sum() * scale, slope * scale

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Raise PellucidError unless targets are in [0, 1] and of the output shape, or class indices."""
        check_values(self, outputs, targets, (0.0, 1.0))
        for name, weights in (("pos_weight", self.pos_weight), ("class_weights", self.class_weights)):
            if isinstance(weights, tuple) and outputs[:1] != (len(weights),):
                raise weight_count_error(self, len(weights), outputs[0] if outputs else 0, name)

    def predict(self, y: Tensor) -> Tensor:
        """Return the probability of the positive class for each output."""
        return y.sigmoid()
