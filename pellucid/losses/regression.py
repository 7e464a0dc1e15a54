"""Losses for regression: the quadratic loss, the absolute error and the Huber loss."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pellucid.base.settings.checks import check_choice, check_range
from pellucid.layers.base import Shape
from pellucid.losses.base import REDUCTIONS, Loss, Reduction, divisor, fraction_tensor
from pellucid.losses.targets import check_values, class_weights_like, target_values


class RegressionLoss(Loss):
    """A loss of outputs y (N, ...) and targets of the same shape, or of y (N, C, ...) and integer classes (N, ...).

    `reduction`: "mean" averages over outputs and batch, "batch" sums over the outputs and averages over the batch,
    "sum" sums over both.
    """

    metrics: ClassVar[tuple[str, ...]] = ("mae",)

    reduction: Reduction

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown reduction."""
        check_choice(self, REDUCTIONS, reduction=self.reduction)

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Raise PellucidError unless targets are finite numbers of the network's output shape, or class indices."""
        check_values(self, outputs, targets)


@dataclass(frozen=True)
class Quadratic(RegressionLoss):
    """Half the squared error: C = f/n Σ (y - target)², dy = 2f (y - target) / n, with the `factor` f = 1/2.

    n is the number of examples for the default `reduction`. For shapes and `reduction` see RegressionLoss. With factor
    1 and "mean" it is the mean squared error of PyTorch and Keras. Source: Nielsen 2015, equation 6.
    """

    reduction: Reduction = "batch"
    factor: float = 0.5

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown reduction, and for a factor that is not above 0."""
        check_range(self, exclude_low=True, factor=self.factor)
        super().__post_init__()

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        n = divisor(self.reduction, y)
        error = y - target_values(self, y, target)  # (N, ...)
        flat_error = error.flatten()
        value = flat_error.dot(flat_error) * fraction_tensor(self.factor, n, y.dtype)
        return value, error * fraction_tensor(2 * self.factor, n, y.dtype)


@dataclass(frozen=True)
class L1(RegressionLoss):
    """The absolute error: C = 1/n Σ |y - target|, dy = sign(y - target) / n, which is 0 where they are equal.

    For shapes and `reduction` see RegressionLoss.
    Source: Laplace's least absolute deviations, as in Goodfellow, Bengio and Courville 2016, section 6.2.1.2.
    """

    reduction: Reduction = "mean"

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        scale = fraction_tensor(1.0, divisor(self.reduction, y), y.dtype)
        error = y - target_values(self, y, target)  # (N, ...)
        return error.abs().sum() * scale, error.sign() * scale


@dataclass(frozen=True)
class Huber(RegressionLoss):
    """Quadratic up to `delta`, linear beyond: d²/2 where |d| <= delta, else delta (|d| - delta/2).

    d is (y - target) / scale; the gradient is d, clipped to ±delta and divided by n and by the scale. `scale`: one
    number, or one for each of the C outputs, such as the standard deviations of targets in different units. For shapes
    and `reduction` see RegressionLoss.
    Source: Huber 1964, Robust estimation of a location parameter.
    """

    delta: float = 1.0
    reduction: Reduction = "mean"
    scale: float | tuple[float, ...] = 1.0

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown reduction, and for a delta or a scale that is not above 0."""
        check_range(self, exclude_low=True, delta=self.delta)
        for scale in self.scale if isinstance(self.scale, tuple) else (self.scale,):
            check_range(self, exclude_low=True, scale=scale)
        super().__post_init__()

    def scale_like(self, y: Tensor) -> Tensor | float:
        """Return the scale as one number, or as a tensor that broadcasts to y (N, C, ...)."""
        return class_weights_like(self, self.scale, y, "scale") if isinstance(self.scale, tuple) else self.scale

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        scale = fraction_tensor(1.0, divisor(self.reduction, y), y.dtype)
        d = y - target_values(self, y, target)  # (N, ...)
        if self.scale != 1:
            d = d / self.scale_like(y)
        slope = d.clamp(-self.delta, self.delta)
        value = (slope * (d - slope / 2)).sum() * scale  # slope (d - slope/2) covers both cases
        return value, slope * scale if self.scale == 1 else slope * scale / self.scale_like(y)
