"""Adagrad."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.optim import foreach
from pellucid.optim.base import Optimizer, State, check_range, tensors_of


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s ← s + g², w ← w - lr g / (√s + epsilon), with s = `initial` before the first step.

    Source: Duchi, Hazan and Singer 2011, figure 1 (diagonal).
    """

    lr: float = 0.01
    epsilon: float = 1e-10
    initial: float = 0.0

    def __post_init__(self) -> None:
        """Raise PellucidError for a learning rate or initial sum below 0, or an epsilon not above 0."""
        check_range(self, lr=self.lr, initial=self.initial)
        check_range(self, open_low=True, epsilon=self.epsilon)

    def init(self, params: list[Tensor]) -> State:
        """Return the initial sum of squares for each parameter."""
        return {"square_sum": [torch.full_like(param, self.initial) for param in params]}

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        """Take one step."""
        square_sum = tensors_of(state, "square_sum")
        foreach.addcmul_(square_sum, grads, grads)
        size = foreach.sqrt(square_sum)
        foreach.add_(size, self.epsilon)
        foreach.addcdiv_(params, grads, size, value=-lr)
