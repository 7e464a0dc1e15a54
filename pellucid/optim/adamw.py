"""Adam with decoupled weight decay."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.optim import foreach
from pellucid.optim.adam import adam_state, adam_step, state_names
from pellucid.optim.base import Optimizer, State, check_range, check_state


@dataclass(frozen=True)
class AdamW(Optimizer):
    """w ← (1 - lr weight_decay) w, then a step of Adam: `decay` of the weights, then `update` of all parameters.

    Weights decay, biases and the scales of normalisation do not. `amsgrad` as in Adam.
    Source: Loshchilov and Hutter 2019, Decoupled weight decay regularization, algorithm 2.
    """

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    amsgrad: bool = False

    def __post_init__(self) -> None:
        """Raise PellucidError for numbers below 0, betas outside [0, 1), epsilon not above 0."""
        check_range(self, lr=self.lr, weight_decay=self.weight_decay)
        check_range(self, high=1.0, beta1=self.beta1, beta2=self.beta2)
        check_range(self, open_low=True, epsilon=self.epsilon)

    def init(self, params: list[Tensor]) -> State:
        """Return a mean and a mean square of 0 for each parameter, and the number of steps."""
        return adam_state(params, self.amsgrad)

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        """Take the step of Adam."""
        check_state(self, state, state_names(self.amsgrad))
        adam_step(params, grads, state, lr, self.beta1, self.beta2, self.epsilon, self.amsgrad)

    def decay(self, weights: list[Tensor], lr: float) -> None:
        """Multiply each weight by 1 - lr weight_decay."""
        if weights:
            foreach.mul_(weights, 1 - lr * self.weight_decay)
