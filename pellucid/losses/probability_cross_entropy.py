"""The binary cross-entropy of probabilities, for networks that end in a sigmoid, as torch.nn.BCELoss."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pellucid.base.settings.checks import check_choice
from pellucid.layers.base import Shape
from pellucid.losses.base import REDUCTIONS, Loss, Reduction, divisor
from pellucid.losses.targets import check_values, check_weights, class_weights_like, target_values

LOWEST_LOG = -100.0  # of a probability, as in PyTorch, so that the loss of a probability of 0 is finite
LOWEST_VARIANCE = 1e-12  # of a probability in the gradient, as in PyTorch


@dataclass(frozen=True)
class ProbabilityCrossEntropy(Loss):
    """The cross-entropy of probabilities y: C = -1/n Σ w [t ln y + (1 - t) ln(1 - y)], dy = w (y - t) / (n y (1 - y)).

    Logarithms are at least -100, and y (1 - y) in the gradient at least 1e-12. Targets are in [0, 1] and have the shape
    of y (N, ...). w: `class_weights`, one for each of the C outputs. Prefer a network without sigmoid, with
    BinaryCrossEntropy, whose gradient does not vanish where the sigmoid saturates.
    """

    metrics: ClassVar[tuple[str, ...]] = ()

    reduction: Reduction = "mean"
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown reduction or invalid class_weights."""
        check_choice(self, REDUCTIONS, reduction=self.reduction)
        check_weights(self, self.class_weights)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        t = target_values(self, y, target)
        cost = -t * y.log().clamp_min(LOWEST_LOG) - (1 - t) * (1 - y).log().clamp_min(LOWEST_LOG)
        slope = (y - t) / (y * (1 - y)).clamp_min(LOWEST_VARIANCE)
        if self.class_weights is not None:
            weights = class_weights_like(self, self.class_weights, y)
            cost = cost * weights
            slope = slope * weights
        n = divisor(self.reduction, y)
        return cost.sum() / n, slope / n

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Raise PellucidError unless targets are in [0, 1] and of the output shape."""
        check_values(self, outputs, targets, (0.0, 1.0))
