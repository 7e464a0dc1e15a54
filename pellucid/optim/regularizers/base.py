"""The contract of every regularizer, and what several of them share."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pellucid.calls import Checked
from pellucid.optim import foreach


@dataclass(frozen=True)
class Regularizer(metaclass=Checked):
    """A penalty on large weights, coupled (a term of the cost) or `decoupled` (a shrinking of the weights).

    The cost term is divided by n, the number of training examples, and its gradient goes through the optimizer;
    decoupled, each step shrinks the weights in proportion to the learning rate, for any optimizer.
    The layers of a network say which weights these are (`Layer.decayed`). All lists of weights and gradients are in
    the same order, and not empty. Several act as `add_penalties` and `shrink_weights` say.
    """

    decoupled: bool = field(default=False, kw_only=True)

    @abstractmethod
    def cost(self, weights: list[Tensor], n: int) -> Tensor:
        """Return the cost term as a 0-d tensor; where decoupled, it is no part of what training makes small."""

    @abstractmethod
    def add_gradient(self, weights: list[Tensor], grads: list[Tensor], n: int) -> None:
        """Add the cost term's gradient to `grads`, in place."""

    @abstractmethod
    def shrink(self, weights: list[Tensor], lr: float) -> None:
        """Shrink the weights, in place, by what a decoupled step of learning rate `lr` takes."""


def in_order(given: Iterable[object]) -> list[Regularizer]:
    """Return the regularizers among `given` in the order they act in, whatever the order they are given in.

    A soft threshold and a decay do not commute.
    """
    return sorted((one for one in given if isinstance(one, Regularizer)), key=repr)


def add_penalties(regularizers: Iterable[Regularizer], weights: list[Tensor], grads: list[Tensor], n: int) -> None:
    """Add the gradients of all cost terms to `grads`, in place: what a step does first, before it clips.

    What is decoupled is left to `shrink_weights`. `regularizers` are as `in_order` returns them.
    """
    for one in regularizers:
        if not one.decoupled:
            one.add_gradient(weights, grads, n)


def shrink_weights(regularizers: Iterable[Regularizer], weights: list[Tensor], lr: float) -> None:
    """Shrink the weights, in place, by all that is decoupled: what a step of learning rate `lr` does last, to update.

    `regularizers` are as `in_order` returns them.
    """
    for one in regularizers:
        if one.decoupled:
            one.shrink(weights, lr)


def squares(weights: list[Tensor]) -> Tensor:
    """Return Σ w² over all weights."""
    return torch.stack(foreach.norm(weights)).square().sum()


def absolutes(weights: list[Tensor]) -> Tensor:
    """Return Σ |w| over all weights."""
    return torch.stack(foreach.norm(weights, 1)).sum()


def soft_threshold(weights: list[Tensor], reach: float) -> None:
    """Bring each weight nearer to 0 by `reach`, in place, at most until it is 0."""
    taken = foreach.clamp_min(weights, -reach)
    foreach.clamp_max_(taken, reach)
    foreach.sub_(weights, taken)
