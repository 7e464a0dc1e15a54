"""The rule of sums and averages: each input by what it contributed."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pellucid.layers.base import Cache, Layer, Params
from pellucid.rules.checks import at_least_zero
from pellucid.rules.term import inputs, stabilized, term


@dataclass(frozen=True)
class Norm:
    """Share what arrives among the inputs in proportion to their part of the output: R_i = Σ_j x_i a_ij / y_j R_j.

    a_ij is how input i weighs in output j, so that of y = x1 + x2 the first takes x1 / y of R. The `stabilizer` moves
    y away from 0. For Add, Concat, averages and resizing.
    """

    stabilizer: float = 1e-6

    def __post_init__(self) -> None:
        """Raise PellucidError for a stabilizer below 0."""
        at_least_zero(self, stabilizer=self.stabilizer)

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Any, Params]:
        """Return the relevance of each input; raises PellucidError for a layer that does not keep its input."""
        run = term(layer, params, inputs(self, layer, cache))
        return run.share(dy / stabilized(run.y, self.stabilizer)), {}
