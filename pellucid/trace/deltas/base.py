"""Where deltas begin: what a loss is made of, and its derivative by one output as a product of named factors."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from pellucid.losses.base import Loss
from pellucid.trace.explanation import Factor


@dataclass(frozen=True)
class Pieces:
    """A loss in pieces for one output of the network: named tensors, and what each output costs.

    named: tensors that people ask for (probabilities, log_likelihood ...). cost: numbers that add up to the loss.
    factors: (flat place in y) -> the factors whose product is ∂C/∂y there. words, formula: the rule.
    """

    named: dict[str, Tensor]
    cost: Tensor
    factors: Callable[[int], tuple[Factor, ...]] = field(repr=False)
    words: str
    formula: str


Dissect = Callable[[Loss, Tensor, Tensor], Pieces]  # (loss, y, target) -> its pieces


def number(tensor: Tensor, place: int) -> float:
    """Return one number of a tensor by its flat place."""
    return float(tensor.flatten()[place])


def plain(name: str, value: float, role: str = "share") -> Factor:
    """Return a factor without parts."""
    return Factor(name, value, role)


def difference(name: str, first: Factor, second: Factor, role: str = "error") -> Factor:
    """Return first - second as one factor of two parts."""
    taken = Factor(f"-{second.name}", -second.value, second.role)
    return Factor(name, first.value - second.value, role, (first, taken))


def share(n: int) -> tuple[Factor, ...]:
    """Return the factor 1 / n, none where n is 1."""
    return () if n == 1 else (plain(f"1/{n}", 1 / n),)
