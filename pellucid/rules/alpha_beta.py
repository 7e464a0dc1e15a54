"""The alpha-beta rule of layer-wise relevance propagation."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Cache, Layer, Params
from pellucid.rules.checks import at_least_zero
from pellucid.rules.term import halves, linear, negative, positive, shares, stabilized, total, weighted_input


@dataclass(frozen=True)
class AlphaBeta:
    """Weigh positive and negative contributions apart: R_i = Σ_j (α c⁺_ij / z⁺_j - β c⁻_ij / z⁻_j) R_j.

    Here c_ij = x_i w_ij, z⁺_j = Σ_i c⁺_ij + b⁺_j, z⁻ likewise, without b if not `bias`; alpha - beta = 1 keeps the sum.
    Source: Bach et al. 2015, equation 60.
    """

    alpha: float = 2.0
    beta: float = 1.0
    stabilizer: float = 1e-6
    bias: bool = True

    def __post_init__(self) -> None:
        """Raise PellucidError for weights that do not keep the sum of relevance, and for a stabilizer below 0."""
        at_least_zero(self, alpha=self.alpha, beta=self.beta, stabilizer=self.stabilizer)
        if abs(self.alpha - self.beta - 1) > 1e-9:
            raise PellucidError(
                f"AlphaBeta: alpha - beta must be 1 to keep the sum of relevance, not {self.alpha} - {self.beta}"
            )

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the relevance of the input; raises PellucidError for a layer without weights."""
        x, params = weighted_input(self, layer, params, cache), linear(layer, params, self.bias)
        runs = halves(layer, params, x, positive, negative)
        dx = self.alpha * shares(runs, dy / stabilized(total(runs), self.stabilizer))
        if self.beta:
            runs = halves(layer, params, x, negative, positive)
            dx = dx - self.beta * shares(runs, dy / stabilized(total(runs), self.stabilizer))
        return dx, {}
