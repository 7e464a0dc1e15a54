"""Gradient descent, plain and with momentum."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pellucid.base.settings.checks import check_range
from pellucid.optim import foreach
from pellucid.optim.base import Optimizer, State, tensors_of, zeros


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent: w ← w - lr g.

    Source: Robbins and Monro 1951; Nielsen 2015, equations 20 and 21.
    """

    elementwise: ClassVar[bool] = True

    lr: float = 0.1

    def __post_init__(self) -> None:
        """Raise PellucidError for a learning rate below 0."""
        check_range(self, lr=self.lr)

    def init(self, params: list[Tensor]) -> State:
        """Return an empty state."""
        return {}

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        """Take one step."""
        foreach.add_(params, grads, alpha=-lr)


@dataclass(frozen=True)
class _Velocity(Optimizer):
    """An optimizer with a velocity for each parameter."""

    lr: float = 0.01
    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Raise PellucidError for a learning rate below 0 or a momentum outside [0, 1)."""
        check_range(self, lr=self.lr)
        check_range(self, high=1.0, momentum=self.momentum)

    def init(self, params: list[Tensor]) -> State:
        """Return a velocity of 0 for each parameter."""
        return {"velocity": zeros(params)}


@dataclass(frozen=True)
class Momentum(_Velocity):
    """Gradient descent with momentum: v ← momentum v + g, w ← w - lr v.

    The learning rate multiplies the velocity, not the gradient, so that a schedule takes effect immediately, as in
    torch.optim.SGD.
    Source: Polyak 1964; Nielsen 2015, equations 107 and 108, whose v equals -lr v in this formula.
    """

    elementwise: ClassVar[bool] = True

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        """Take one step."""
        velocity = tensors_of(state, "velocity")
        foreach.mul_(velocity, self.momentum)
        foreach.add_(velocity, grads)
        foreach.add_(params, velocity, alpha=-lr)


@dataclass(frozen=True)
class Nesterov(_Velocity):
    """Gradient descent with Nesterov momentum: v ← momentum v + g, w ← w - lr (g + momentum v).

    The gradient acts as if it were computed one momentum step ahead.
    Source: Nesterov 1983; Sutskever et al. 2013, On the importance of initialization and momentum, section 2.
    """

    elementwise: ClassVar[bool] = True

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        """Take one step."""
        velocity = tensors_of(state, "velocity")
        foreach.mul_(velocity, self.momentum)
        foreach.add_(velocity, grads)
        foreach.add_(params, grads, alpha=-lr)
        foreach.add_(params, velocity, alpha=-lr * self.momentum)
