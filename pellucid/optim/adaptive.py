"""Optimizers that scale the step of each parameter by its past gradients.

`elementwise`: each value changes only by its own gradient and state, so that processes can share the state.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.base.settings.checks import check_range
from pellucid.optim import foreach
from pellucid.optim.base import Optimizer, State, check_state, increment_step, tensors_of, zeros


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s ← s + g², w ← w - lr g / (√s + epsilon), with s = `initial` before the first step.

    Source: Duchi, Hazan and Singer 2011, figure 1 (diagonal).
    """

    elementwise: ClassVar[bool] = True

    lr: float = 0.01
    epsilon: float = 1e-10
    initial: float = 0.0

    def __post_init__(self) -> None:
        """Raise PellucidError for a learning rate or `initial` below 0, or an epsilon not above 0."""
        check_range(self, lr=self.lr, initial=self.initial)
        check_range(self, exclude_low=True, epsilon=self.epsilon)

    def init(self, params: list[Tensor]) -> State:
        """Return the initial sum of squares for each parameter."""
        return {"square_sum": [torch.full_like(param, self.initial) for param in params]}

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        """Take one step."""
        square_sum = tensors_of(state, "square_sum")
        foreach.addcmul_(square_sum, grads, grads)
        denominator = foreach.sqrt(square_sum)
        foreach.add_(denominator, self.epsilon)
        foreach.addcdiv_(params, grads, denominator, value=-lr)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """s ← rho s + (1 - rho) g², v ← momentum v + g / (√s + epsilon), w ← w - lr v.

    If `centered`, m ← rho m + (1 - rho) g, and the variance s - m² replaces s.
    Source: Tieleman and Hinton 2012, lecture 6.5; momentum as in torch.optim.RMSprop, whose alpha is rho;
    centered: Graves 2013, Generating sequences with recurrent neural networks, equations 38 to 41.
    """

    elementwise: ClassVar[bool] = True

    lr: float = 0.01
    rho: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    def __post_init__(self) -> None:
        """Raise PellucidError for a learning rate below 0, rho or momentum outside [0, 1), epsilon not above 0."""
        check_range(self, lr=self.lr)
        check_range(self, high=1.0, rho=self.rho, momentum=self.momentum)
        check_range(self, exclude_low=True, epsilon=self.epsilon)

    def init(self, params: list[Tensor]) -> State:
        """Return zeros for each parameter: the mean square, with momentum the velocity, and if centered the mean."""
        return {name: zeros(params) for name in self._state_names()}

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        """Take one step."""
        check_state(self, state, self._state_names())
        square_mean = tensors_of(state, "square_mean")
        foreach.mul_(square_mean, self.rho)
        foreach.addcmul_(square_mean, grads, grads, value=1 - self.rho)
        if self.centered:
            mean = tensors_of(state, "mean")
            foreach.lerp_(mean, grads, 1 - self.rho)
            square_mean = foreach.addcmul(square_mean, mean, mean, value=-1)
            foreach.clamp_min_(square_mean, 0.0)  # rounding may leave the variance of a constant below 0
        denominator = foreach.sqrt(square_mean)
        foreach.add_(denominator, self.epsilon)
        if self.momentum == 0:
            foreach.addcdiv_(params, grads, denominator, value=-lr)
            return
        velocity = tensors_of(state, "velocity")
        foreach.mul_(velocity, self.momentum)
        foreach.addcdiv_(velocity, grads, denominator)
        foreach.add_(params, velocity, alpha=-lr)

    def _state_names(self) -> tuple[str, ...]:
        velocity, mean = ("velocity",) if self.momentum != 0 else (), ("mean",) if self.centered else ()
        return ("square_mean", *velocity, *mean)


class AdamBase(Optimizer):
    """Base class of Adam and AdamW: their common fields and the step of Adam, without weight decay."""

    elementwise: ClassVar[bool] = True

    beta1: float
    beta2: float
    epsilon: float
    amsgrad: bool

    def __post_init__(self) -> None:
        """Raise PellucidError for a learning rate below 0, betas outside [0, 1), epsilon not above 0."""
        check_range(self, lr=self.lr)
        check_range(self, high=1.0, beta1=self.beta1, beta2=self.beta2)
        check_range(self, exclude_low=True, epsilon=self.epsilon)

    def init(self, params: list[Tensor]) -> State:
        """Return a mean and a mean square of 0 for each parameter, and the number of steps."""
        state: State = {"mean": zeros(params), "square_mean": zeros(params), "step": 0}
        return {**state, "square_max": zeros(params)} if self.amsgrad else state

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        """Take one step of Adam or AMSGrad."""
        check_state(self, state, ("mean", "square_mean", "step", *(("square_max",) if self.amsgrad else ())))
        step = increment_step(state)
        square_maxima = tensors_of(state, "square_max" if self.amsgrad else "square_mean")
        tensor_lists = params, grads, tensors_of(state, "mean"), tensors_of(state, "square_mean"), square_maxima
        for param, grad, mean, square_mean, square_max in foreach.chunks(*tensor_lists):
            foreach.lerp_(mean, grad, 1 - self.beta1)
            foreach.mul_(square_mean, self.beta2)
            foreach.addcmul_(square_mean, grad, grad, value=1 - self.beta2)
            if self.amsgrad:
                foreach.maximum_(square_max, square_mean)
            denominator = foreach.sqrt(square_max)  # without amsgrad, `square_max` is `square_mean`
            foreach.div_(denominator, math.sqrt(1 - self.beta2**step))
            foreach.add_(denominator, self.epsilon)
            foreach.addcdiv_(param, mean, denominator, value=-lr / (1 - self.beta1**step))


@dataclass(frozen=True)
class Adam(AdamBase):
    """m ← b1 m + (1 - b1) g, s ← b2 s + (1 - b2) g², w ← w - lr m̂ / (√ŝ + epsilon).

    In step t, m̂ = m / (1 - b1ᵗ) and ŝ = s / (1 - b2ᵗ) correct the bias of the initial 0. With `amsgrad`, the maximum
    of all previous s replaces s, so the factor 1 / √s never grows.
    Source: Kingma and Ba 2015, algorithm 1; Reddi, Kale and Kumar 2018, On the convergence of Adam and beyond,
    algorithm 2, with ŝ as in torch.optim.Adam.
    """

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    amsgrad: bool = False


@dataclass(frozen=True)
class AdamW(AdamBase):
    """w ← (1 - lr weight_decay) w, then a step of Adam: first `decay`, then `update`.

    Weight decay applies to weights, not to biases or the scales of normalization.
    amsgrad: as for Adam.
    Source: Loshchilov and Hutter 2019, Decoupled weight decay regularization, algorithm 2.
    """

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    amsgrad: bool = False

    def __post_init__(self) -> None:
        """Raise PellucidError for lr or weight_decay below 0, betas outside [0, 1), epsilon not above 0."""
        super().__post_init__()
        check_range(self, weight_decay=self.weight_decay)

    def decay(self, weights: list[Tensor], lr: float) -> None:
        """Multiply each weight by 1 - lr weight_decay."""
        if weights:
            foreach.mul_(weights, 1 - lr * self.weight_decay)
