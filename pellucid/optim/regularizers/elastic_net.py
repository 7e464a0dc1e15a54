"""Small squares and small absolute values."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.optim import foreach
from pellucid.optim.base import check_range
from pellucid.optim.regularizers.base import Regularizer, absolutes, soft_threshold, squares


@dataclass(frozen=True)
class ElasticNet(Regularizer):
    """Both at once: l1/n Σ |w| + l2/2n Σ w²; decoupled, the soft threshold of l1 and then the decay of l2.

    Source: Zou and Hastie 2005, equation 3.
    """

    l1: float
    l2: float

    def __post_init__(self) -> None:
        """Raise PellucidError for numbers below 0."""
        check_range(self, l1=self.l1, l2=self.l2)

    def cost(self, weights: list[Tensor], n: int) -> Tensor:
        """Return l1/n Σ |w| + l2/2n Σ w²."""
        return absolutes(weights) * (self.l1 / n) + squares(weights) * (self.l2 / (2 * n))

    def add_gradient(self, weights: list[Tensor], grads: list[Tensor], n: int) -> None:
        """Add l1/n sign(w) + l2/n w."""
        foreach.add_(grads, foreach.sign(weights), alpha=self.l1 / n)
        foreach.add_(grads, weights, alpha=self.l2 / n)

    def shrink(self, weights: list[Tensor], lr: float) -> None:
        """Bring each weight nearer to 0 by lr l1, then multiply it by 1 - lr l2."""
        soft_threshold(weights, lr * self.l1)
        foreach.mul_(weights, 1 - lr * self.l2)
