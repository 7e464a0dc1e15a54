"""The w-square rule of layer-wise relevance propagation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.layers.base import Cache, Layer, Params
from pellucid.rules.checks import at_least_zero
from pellucid.rules.term import linear, stabilized, term, weighted_input


@dataclass(frozen=True)
class WSquare:
    """Share relevance by squared weights, independent of the input: R_i = Σ_j w²_ij / Σ_i w²_ij R_j.

    With `bias`, b²_j stands in the denominator too. For the layer that reads the input. Source: Montavon et al. 2017
    (deep Taylor decomposition).
    """

    stabilizer: float = 1e-6
    bias: bool = False

    def __post_init__(self) -> None:
        """Raise PellucidError for a stabilizer below 0."""
        at_least_zero(self, stabilizer=self.stabilizer)

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the relevance of the input; raises PellucidError for a layer without weights."""
        x = weighted_input(self, layer, params, cache)
        params = linear(layer, params, self.bias)
        squared = {name: value**2 if name in ("weight", "bias") else value for name, value in params.items()}
        run = term(layer, squared, torch.ones_like(x))
        return run.share(dy / stabilized(run.y, self.stabilizer)), {}
