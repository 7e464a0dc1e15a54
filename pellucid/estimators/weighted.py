"""The weighted mean of a loss over examples; the weights are stored in the targets."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.losses import BinaryCrossEntropy, Loss, Quadratic, SoftmaxCrossEntropy
from pellucid.optim import MaxNorm, Regularizer, foreach


def with_weights(target: Tensor, weights: Tensor) -> Tensor:
    """Return targets (n,) or (n, k), classes or numbers, and weights (n,) as one tensor (n, k + 1) of float64."""
    return torch.cat([target.reshape(len(target), -1).double(), weights.double()[:, None]], 1)


@dataclass(frozen=True)
class WeightedLoss(Loss):
    """C = 1/n Σ w_i C_i for a loss whose value for a batch is the mean of its values C_i for the examples.

    Targets are made by `with_weights`; has_class_targets: whether they are class indices, not numbers. With weights
    whose mean over the data is 1, the mean over all batches is Σ w_i C_i / Σ w_i. The gradient of the loss is
    multiplied by w_i in the rows of example i.
    Raises PellucidError for a loss with class_weights, whose mean is already weighted.
    """

    loss: Loss
    has_class_targets: bool = True

    def __post_init__(self) -> None:
        """Raise PellucidError for a loss with class_weights."""
        class_weights = getattr(self.loss, "class_weights", None)
        if class_weights is not None:
            raise PellucidError(
                f"{type(self.loss).__name__} has class_weights; leave them out, and multiply the sample weights by "
                "the class weights"
            )

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        target, weights = self._targets_and_weights(target)
        weights = weights.to(y.dtype)
        _, dy = self.loss(y, target)
        value = (example_losses(self.loss, y, target) * weights).sum() / len(y)
        return value, dy * weights.reshape(-1, *(1,) * (y.dim() - 1))

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Raise PellucidError if the targets are invalid for the loss."""
        self.loss.check(outputs, self._targets_and_weights(targets)[0])

    def predict(self, y: Tensor) -> Tensor:
        """Return the loss's predictions."""
        return self.loss.predict(y)

    def _targets_and_weights(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the targets of the loss, and the weights."""
        values, weights = target[:, :-1], target[:, -1]
        values = values[:, 0] if values.shape[1] == 1 else values
        return (values.long() if self.has_class_targets else values), weights


@dataclass(frozen=True)
class WeightedPenalty(Regularizer):
    """A regularizer whose cost term is divided by the sum of the examples' weights, n times their `mean`."""

    penalty: Regularizer
    mean: float

    def cost(self, weights: list[Tensor], n: int) -> Tensor:
        """Return the cost term."""
        return self.penalty.cost(weights, n) / self.mean

    def add_gradient(self, weights: list[Tensor], grads: list[Tensor], n: int) -> None:
        """Add the cost term's gradient to `grads`, in place."""
        unscaled_grads = [torch.zeros_like(grad) for grad in grads]
        self.penalty.add_gradient(weights, unscaled_grads, n)
        foreach.add_(grads, unscaled_grads, alpha=1 / self.mean)

    def shrink(self, weights: list[Tensor], lr: float) -> None:
        """Do nothing: only penalties with a cost term are weighted, not decoupled ones."""


def weighted_penalty(regularizer: Regularizer | MaxNorm, mean: float) -> Regularizer | MaxNorm:
    """Return a regularizer whose cost term, if any, is divided by the mean weight of the examples."""
    if isinstance(regularizer, MaxNorm) or regularizer.decoupled:
        return regularizer
    return WeightedPenalty(regularizer, mean)


def example_losses(loss: Loss, y: Tensor, target: Tensor) -> Tensor:
    """Return the loss of each example, (n,): in one call for common losses, otherwise in one call per example."""
    if loss == Quadratic():
        return (y - target.reshape(y.shape)).square().flatten(1).sum(1) / 2
    if loss == SoftmaxCrossEntropy() and y.dim() == 2:
        return F.cross_entropy(y, target, reduction="none")
    if loss == BinaryCrossEntropy() and y.dim() == 2 and target.dim() == 1:
        one_hot = target[:, None] if y.shape[1] == 1 else F.one_hot(target, y.shape[1])
        return F.binary_cross_entropy_with_logits(y, one_hot.to(y.dtype), reduction="none").sum(1)
    return torch.stack([loss(y[k : k + 1], target[k : k + 1])[0] for k in range(len(y))])
