"""Regularizers: penalties on large weights, and a limit on the norm of a unit's weights."""
# Some functions of PyTorch have no type annotations.
# pyright: reportUnknownMemberType=false

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from pellucid.base.settings.arguments import Checked
from pellucid.base.settings.checks import check_range
from pellucid.optim import foreach


@dataclass(frozen=True)
class Regularizer(metaclass=Checked):
    """A penalty on large weights, as a term of the cost or `decoupled`, as in decoupled weight decay.

    The cost term is divided by n, the number of training examples, and the optimizer receives its gradient. If
    decoupled, each step shrinks the weights in proportion to the learning rate, independently of the optimizer.
    Regularizers apply to the weights in `Layer.decayed` of each layer. Lists of weights and of gradients are in the
    same order, and not empty. `add_penalties` and `shrink_weights` apply several regularizers.
    """

    decoupled: bool = field(default=False, kw_only=True)

    @abstractmethod
    def cost(self, weights: list[Tensor], n: int) -> Tensor:
        """Return the cost term as a 0-d tensor; if decoupled, training does not add it to the loss."""

    @abstractmethod
    def add_gradient(self, weights: list[Tensor], grads: list[Tensor], n: int) -> None:
        """Add the cost term's gradient to `grads`, in place."""

    @abstractmethod
    def shrink(self, weights: list[Tensor], lr: float) -> None:
        """Apply decoupled weight decay for the learning rate `lr` to the weights, in place."""


def in_order(regularizers: Iterable[object]) -> list[Regularizer]:
    """Return the regularizers without MaxNorm, in the order in which they are applied.

    They are sorted by their repr. The order is fixed because the result of L1's soft threshold and L2's decay depends
    on their order.
    """
    return sorted((regularizer for regularizer in regularizers if isinstance(regularizer, Regularizer)), key=repr)


def add_penalties(regularizers: Iterable[Regularizer], weights: list[Tensor], grads: list[Tensor], n: int) -> None:
    """Add the gradients of all cost terms to `grads`, in place; a step does this before clipping.

    Decoupled regularizers are not included. regularizers: in the order of `in_order`.
    """
    for regularizer in regularizers:
        if not regularizer.decoupled:
            regularizer.add_gradient(weights, grads, n)


def shrink_weights(regularizers: Iterable[Regularizer], weights: list[Tensor], lr: float) -> None:
    """Shrink the weights, in place, by all decoupled regularizers; a step does this before the optimizer's update.

    regularizers: in the order of `in_order`.
    """
    for regularizer in regularizers:
        if regularizer.decoupled:
            regularizer.shrink(weights, lr)


def square_sum(weights: list[Tensor]) -> Tensor:
    """Return Σ w² over all weights."""
    return torch.stack(foreach.norm(weights)).square().sum()


def absolute_sum(weights: list[Tensor]) -> Tensor:
    """Return Σ |w| over all weights."""
    return torch.stack(foreach.norm(weights, 1)).sum()


def soft_threshold(weights: list[Tensor], threshold: float) -> None:
    """Apply the soft threshold: move each weight towards 0 by `threshold`, in place, stopping at 0."""
    decrease = foreach.clamp_min(weights, -threshold)
    foreach.clamp_max_(decrease, threshold)
    foreach.sub_(weights, decrease)


@dataclass(frozen=True)
class L1(Regularizer):
    """L1 regularization: the cost lam/n Σ |w|, with the gradient lam/n sign(w), 0 at 0.

    If decoupled, each step reduces |w| by lr lam, stopping at 0.
    Source: Nielsen 2015, equations 95 to 97; decoupled: Tibshirani 1996's soft threshold.
    """

    lam: float

    def __post_init__(self) -> None:
        """Raise PellucidError for a lam below 0."""
        check_range(self, lam=self.lam)

    def cost(self, weights: list[Tensor], n: int) -> Tensor:
        """Return lam/n Σ |w|."""
        return absolute_sum(weights) * (self.lam / n)

    def add_gradient(self, weights: list[Tensor], grads: list[Tensor], n: int) -> None:
        """Add lam/n sign(w)."""
        foreach.add_(grads, foreach.sign(weights), alpha=self.lam / n)

    def shrink(self, weights: list[Tensor], lr: float) -> None:
        """Move each weight towards 0 by lr lam, stopping at 0."""
        soft_threshold(weights, lr * self.lam)


@dataclass(frozen=True)
class L2(Regularizer):
    """L2 regularization: the cost lam/2n Σ w², with the gradient lam/n w; decoupled, weight decay w ← (1 - lr lam) w.

    Source: Nielsen 2015, equation 87; decoupled: Loshchilov and Hutter 2019, equation 1.
    """

    lam: float

    def __post_init__(self) -> None:
        """Raise PellucidError for a lam below 0."""
        check_range(self, lam=self.lam)

    def cost(self, weights: list[Tensor], n: int) -> Tensor:
        """Return lam/2n Σ w²."""
        return square_sum(weights) * (self.lam / (2 * n))

    def add_gradient(self, weights: list[Tensor], grads: list[Tensor], n: int) -> None:
        """Add lam/n w."""
        foreach.add_(grads, weights, alpha=self.lam / n)

    def shrink(self, weights: list[Tensor], lr: float) -> None:
        """Multiply each weight by 1 - lr lam."""
        foreach.mul_(weights, 1 - lr * self.lam)


@dataclass(frozen=True)
class ElasticNet(Regularizer):
    """L1 and L2 regularization: the cost l1/n Σ |w| + l2/2n Σ w².

    If decoupled, each step applies the soft threshold of l1, then the decay of l2.
    Source: Zou and Hastie 2005, equation 3.
    """

    l1: float
    l2: float

    def __post_init__(self) -> None:
        """Raise PellucidError for l1 or l2 below 0."""
        check_range(self, l1=self.l1, l2=self.l2)

    def cost(self, weights: list[Tensor], n: int) -> Tensor:
        """Return l1/n Σ |w| + l2/2n Σ w²."""
        return absolute_sum(weights) * (self.l1 / n) + square_sum(weights) * (self.l2 / (2 * n))

    def add_gradient(self, weights: list[Tensor], grads: list[Tensor], n: int) -> None:
        """Add l1/n sign(w) + l2/n w."""
        foreach.add_(grads, foreach.sign(weights), alpha=self.l1 / n)
        foreach.add_(grads, weights, alpha=self.l2 / n)

    def shrink(self, weights: list[Tensor], lr: float) -> None:
        """Move each weight towards 0 by lr l1, stopping at 0, then multiply it by 1 - lr l2."""
        soft_threshold(weights, lr * self.l1)
        foreach.mul_(weights, 1 - lr * self.l2)


@dataclass(frozen=True)
class MaxNorm(metaclass=Checked):
    """A limit on the norm of each unit's incoming weights: after each update, a larger norm is scaled to `limit`.

    A unit is one index of the weight's first axis: an output of Dense, a filter of Conv2d. The weights of other layers
    are not limited; in ConvTranspose2d, for example, the first axis is the input channels.
    Source: Srivastava et al. 2014, Dropout, section 5.1.
    """

    limit: float

    def __post_init__(self) -> None:
        """Raise PellucidError for a limit that is not above 0."""
        check_range(self, exclude_low=True, limit=self.limit)

    def after_update(self, weights: list[Tensor]) -> None:
        """Scale the weights of units whose norm is above `limit` to that norm, in place."""
        for weight in weights:
            # (units, 1, ...)
            norm = cast(Tensor, torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.dim())), keepdim=True))
            weight.mul_((self.limit / norm).clamp(max=1.0))  # for a norm of 0, the quotient is infinity, clamped to 1


def max_norms(regularizers: Iterable[object]) -> list[MaxNorm]:
    """Return the MaxNorm limits in `regularizers`, which are applied after each update, not before it."""
    return [regularizer for regularizer in regularizers if isinstance(regularizer, MaxNorm)]


REGULARIZERS: dict[str, type[Regularizer] | type[MaxNorm]] = {
    "l1": L1,
    "l2": L2,
    "elastic_net": ElasticNet,
    "max_norm": MaxNorm,
}
