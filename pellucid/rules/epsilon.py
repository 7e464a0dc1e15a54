"""The epsilon rule of layer-wise relevance propagation."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pellucid.layers.base import Cache, Layer, Params
from pellucid.rules.checks import at_least_zero
from pellucid.rules.outputs import OutputRule
from pellucid.rules.term import contributions, stabilized


@dataclass(frozen=True)
class Epsilon(OutputRule):
    """Share relevance by contributions: R_i = x_i Σ_j w_ij R_j / (z_j + ε sign z_j), with z_j = Σ_i x_i w_ij + b_j.

    What the bias contributed is lost, and what ε takes away; without `bias`, z is the sum of the inputs' contributions
    only, and nothing but ε's part is lost. Source: Bach et al. 2015, equation 58.
    """

    epsilon: float = 1e-6
    bias: bool = True

    def __post_init__(self) -> None:
        """Raise PellucidError for an epsilon below 0."""
        at_least_zero(self, epsilon=self.epsilon)

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor, y: Tensor | None = None
    ) -> tuple[Any, Params]:
        """Return the relevance of each input; raises PellucidError for a layer that does not keep its input."""
        run = contributions(self, layer, params, cache, self.bias, y)
        return run.share(dy / stabilized(run.y, self.epsilon)), {}
