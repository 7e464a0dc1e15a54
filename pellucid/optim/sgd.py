"""Stochastic gradient descent."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.optim import foreach
from pellucid.optim.base import Optimizer, State, check_range


@dataclass(frozen=True)
class SGD(Optimizer):
    """w ← w - lr g. Source: Robbins and Monro 1951; Nielsen 2015, equations 20 and 21."""

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
