"""Small squares."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.optim import foreach
from pellucid.optim.base import check_range
from pellucid.optim.regularizers.base import Regularizer, squares


@dataclass(frozen=True)
class L2(Regularizer):
    """lam/2n Σ w², with the gradient lam/n w; decoupled it is weight decay, w ← (1 - lr lam) w.

    Source: Nielsen 2015, equation 87; decoupled: Loshchilov and Hutter 2019, equation 1.
    """

    lam: float

    def __post_init__(self) -> None:
        """Raise PellucidError for a lam below 0."""
        check_range(self, lam=self.lam)

    def cost(self, weights: list[Tensor], n: int) -> Tensor:
        """Return lam/2n Σ w²."""
        return squares(weights) * (self.lam / (2 * n))

    def add_gradient(self, weights: list[Tensor], grads: list[Tensor], n: int) -> None:
        """Add lam/n w."""
        foreach.add_(grads, weights, alpha=self.lam / n)

    def shrink(self, weights: list[Tensor], lr: float) -> None:
        """Multiply each weight by 1 - lr lam."""
        foreach.mul_(weights, 1 - lr * self.lam)
