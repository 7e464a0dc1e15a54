"""Metrics of regression, computed batch by batch; all sums are in float64."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.metrics.base import Metric, checked_ratio


@dataclass
class MeanOfErrors(Metric):
    """Base class of means over all outputs of all examples of the `size` of an error."""

    size: ClassVar[Callable[[Tensor], Tensor]]
    lower_is_better: ClassVar[bool] = True
    sums: ClassVar[tuple[str, ...]] = ("total", "count")

    total: float = field(default=0.0, init=False)
    count: int = field(default=0, init=False)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add the batch."""
        errors = outputs.double() - target_values(targets, outputs)
        self.total += type(self).size(errors).sum().item()
        self.count += errors.numel()


@dataclass
class MAE(MeanOfErrors):
    """The mean absolute error, over all outputs of all examples."""

    size: ClassVar[Callable[[Tensor], Tensor]] = torch.abs

    def compute(self) -> dict[str, Any]:
        """Return {"mae": in the targets' unit}."""
        return {"mae": checked_ratio(self.total, self.count, self)}


@dataclass
class RMSE(MeanOfErrors):
    """The root of the mean squared error, over all outputs of all examples."""

    size: ClassVar[Callable[[Tensor], Tensor]] = torch.square

    def compute(self) -> dict[str, Any]:
        """Return {"rmse": in the targets' unit}."""
        return {"rmse": math.sqrt(checked_ratio(self.total, self.count, self))}


@dataclass
class R2(Metric):
    """The coefficient of determination, 1 - Σ (t - y)² / Σ (t - mean t)², averaged over the outputs.

    As for scikit-learn's r2_score, the coefficient of an output whose targets are all equal is 1 if all predictions are
    exact, else 0; for fewer than two examples, the result is NaN. The sums of squares are updated as in Chan, Golub and
    LeVeque 1979.
    squared_deviations: Σ (t - mean t)² of each output so far.
    squared_errors: Σ (t - y)² of each output so far.
    """

    count: int = field(default=0, init=False)
    mean: Tensor = field(default_factory=lambda: torch.zeros(()), init=False, repr=False, compare=False)
    squared_deviations: Tensor = field(default_factory=lambda: torch.zeros(()), init=False, repr=False, compare=False)
    squared_errors: Tensor = field(default_factory=lambda: torch.zeros(()), init=False, repr=False, compare=False)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add the batch."""
        n = len(outputs)
        if not n:
            return
        target = target_values(targets, outputs).reshape(n, -1)  # (n, outputs)
        batch = R2()
        batch.count = n
        batch.mean = target.mean(0)
        batch.squared_deviations = (target - batch.mean).square().sum(0)
        batch.squared_errors = (outputs.double().reshape(n, -1) - target).square().sum(0)
        self.merge(batch)

    def merge(self, other: Any) -> None:
        """Add the count, mean and sums of squares of a metric that was updated with other examples."""
        total = self.count + other.count
        if not other.count:
            return
        mean_change = other.mean - self.mean
        between_batches = mean_change.square() * (self.count * other.count / total)
        self.squared_deviations = self.squared_deviations + other.squared_deviations + between_batches
        self.squared_errors = self.squared_errors + other.squared_errors
        self.mean = self.mean + mean_change * (other.count / total)
        self.count = total

    def compute(self) -> dict[str, Any]:
        """Return {"r2": at most 1}."""
        if not self.count:
            raise PellucidError("R2: no examples were measured; call update first")
        if self.count < 2:
            return {"r2": math.nan}
        is_constant = self.squared_deviations == 0
        scores = 1 - self.squared_errors / self.squared_deviations.masked_fill(is_constant, 1)
        return {"r2": torch.where(is_constant, (self.squared_errors == 0).double(), scores).mean().item()}


def target_values(targets: Tensor, outputs: Tensor) -> Tensor:
    """Return targets as values (n, ...) in float64, one for each output; class indices (n,) become one-hot.

    Raises PellucidError for targets that do not fit the outputs.
    """
    if targets.shape == outputs.shape:
        return targets.double()
    if outputs.dim() == 2 and targets.numel() == len(outputs):
        flat_targets = targets.reshape(-1)
        if outputs.shape[1] == 1:
            return flat_targets.double().unsqueeze(1)
        if not targets.is_floating_point() and bool(((flat_targets >= 0) & (flat_targets < outputs.shape[1])).all()):
            return torch.nn.functional.one_hot(flat_targets.long(), outputs.shape[1]).double()
    raise PellucidError(
        f"metrics of regression: targets {tuple(targets.shape)} of dtype {targets.dtype} do not fit outputs "
        f"{tuple(outputs.shape)}; give one number for each output, or class indices in range"
    )
