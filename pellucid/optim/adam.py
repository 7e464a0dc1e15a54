"""Adam."""

import math
from dataclasses import dataclass

from torch import Tensor

from pellucid.optim import foreach
from pellucid.optim.base import Optimizer, State, check_range, check_state, count, tensors_of, zeros


@dataclass(frozen=True)
class Adam(Optimizer):
    """m ← b1 m + (1 - b1) g, s ← b2 s + (1 - b2) g², w ← w - lr m̂ / (√ŝ + epsilon).

    In step t, m̂ = m / (1 - b1ᵗ) and ŝ = s / (1 - b2ᵗ) undo the start at 0. With `amsgrad`, the largest s so far
    stands in the place of s, so that no step grows because gradients fade.
    Source: Kingma and Ba 2015, algorithm 1; Reddi, Kale and Kumar 2018, On the convergence of Adam and beyond,
    algorithm 2, with ŝ as in torch.optim.Adam.
    """

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    amsgrad: bool = False

    def __post_init__(self) -> None:
        """Raise PellucidError for a learning rate below 0, betas outside [0, 1), epsilon not above 0."""
        check_range(self, lr=self.lr)
        check_range(self, high=1.0, beta1=self.beta1, beta2=self.beta2)
        check_range(self, open_low=True, epsilon=self.epsilon)

    def init(self, params: list[Tensor]) -> State:
        """Return a mean and a mean square of 0 for each parameter, and the number of steps."""
        return adam_state(params, self.amsgrad)

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        """Take one step."""
        check_state(self, state, state_names(self.amsgrad))
        adam_step(params, grads, state, lr, self.beta1, self.beta2, self.epsilon, self.amsgrad)


def state_names(amsgrad: bool) -> tuple[str, ...]:
    """Return what a state of Adam holds, and one of AdamW."""
    return ("mean", "square_mean", "step", "square_max") if amsgrad else ("mean", "square_mean", "step")


def adam_state(params: list[Tensor], amsgrad: bool) -> State:
    """Return what Adam remembers before the first step, which AdamW does too."""
    state: State = {"mean": zeros(params), "square_mean": zeros(params), "step": 0}
    if amsgrad:
        state["square_max"] = zeros(params)
    return state


def adam_step(
    params: list[Tensor],
    grads: list[Tensor],
    state: State,
    lr: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    amsgrad: bool,
) -> None:
    """Take one step of Adam, which AdamW takes too, or of AMSGrad."""
    step = count(state)
    mean, square_mean = tensors_of(state, "mean"), tensors_of(state, "square_mean")
    foreach.lerp_(mean, grads, 1 - beta1)
    foreach.mul_(square_mean, beta2)
    foreach.addcmul_(square_mean, grads, grads, value=1 - beta2)
    if amsgrad:
        square_mean, recent = tensors_of(state, "square_max"), square_mean
        foreach.maximum_(square_mean, recent)
    size = foreach.sqrt(square_mean)
    foreach.div_(size, math.sqrt(1 - beta2**step))
    foreach.add_(size, epsilon)
    foreach.addcdiv_(params, mean, size, value=-lr / (1 - beta1**step))
