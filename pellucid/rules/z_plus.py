"""The z-plus rule of layer-wise relevance propagation."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.layers.base import Cache, Layer, Params
from pellucid.rules.checks import at_least_zero
from pellucid.rules.term import halves, linear, negative, positive, shares, stabilized, total, weighted_input


@dataclass(frozen=True)
class ZPlus:
    """Share relevance among positive contributions only: R_i = Σ_j c⁺_ij / (Σ_i c⁺_ij + b⁺_j) R_j, c_ij = x_i w_ij.

    Without `bias`, b⁺ is left out. It is alpha-beta with alpha 1 and beta 0. Source: Montavon et al. 2017 (deep Taylor
    decomposition), with x⁻ w⁻ for inputs of any sign.
    """

    stabilizer: float = 1e-6
    bias: bool = True

    def __post_init__(self) -> None:
        """Raise PellucidError for a stabilizer below 0."""
        at_least_zero(self, stabilizer=self.stabilizer)

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the relevance of the input; raises PellucidError for a layer without weights."""
        x, params = weighted_input(self, layer, params, cache), linear(layer, params, self.bias)
        runs = halves(layer, params, x, positive, negative)
        return shares(runs, dy / stabilized(total(runs), self.stabilizer)), {}
