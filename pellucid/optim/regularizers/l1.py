"""Small absolute values."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.optim import foreach
from pellucid.optim.base import check_range
from pellucid.optim.regularizers.base import Regularizer, absolutes, soft_threshold


@dataclass(frozen=True)
class L1(Regularizer):
    """lam/n Σ |w|, with the gradient lam/n sign(w), 0 at 0; decoupled, |w| loses lr lam, at most until it is 0.

    Source: Nielsen 2015, equations 95 to 97; decoupled: Tibshirani 1996's soft threshold.
    """

    lam: float

    def __post_init__(self) -> None:
        """Raise PellucidError for a lam below 0."""
        check_range(self, lam=self.lam)

    def cost(self, weights: list[Tensor], n: int) -> Tensor:
        """Return lam/n Σ |w|."""
        return absolutes(weights) * (self.lam / n)

    def add_gradient(self, weights: list[Tensor], grads: list[Tensor], n: int) -> None:
        """Add lam/n sign(w)."""
        foreach.add_(grads, foreach.sign(weights), alpha=self.lam / n)

    def shrink(self, weights: list[Tensor], lr: float) -> None:
        """Bring each weight nearer to 0 by lr lam."""
        soft_threshold(weights, lr * self.lam)
