"""The flat rule of layer-wise relevance propagation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.layers.adaptiveavgpool2d import AdaptiveAvgPool2d
from pellucid.layers.avgpool2d import AvgPool2d
from pellucid.layers.base import Cache, Layer, Params
from pellucid.rules.checks import at_least_zero
from pellucid.rules.term import linear, one_input, stabilized, term, weighted_input

EVEN = (AvgPool2d, AdaptiveAvgPool2d)  # without weights, but all inputs of an output count alike


@dataclass(frozen=True)
class Flat:
    """Share relevance in equal parts among all inputs that an output reads: R_i = Σ_j R_j / n_j.

    It is the w-square rule with weights of 1. For the layer that reads the input, to smooth it.
    Source: Lapuschkin et al. 2019.
    """

    stabilizer: float = 1e-6

    def __post_init__(self) -> None:
        """Raise PellucidError for a stabilizer below 0."""
        at_least_zero(self, stabilizer=self.stabilizer)

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the relevance of the input; raises PellucidError for a layer without weights."""
        x = one_input(self, layer, cache) if isinstance(layer, EVEN) else weighted_input(self, layer, params, cache)
        params = linear(layer, params, bias=False)
        ones = {name: torch.ones_like(value) if name == "weight" else value for name, value in params.items()}
        run = term(layer, ones, torch.ones_like(x))
        return run.share(dy / stabilized(run.y, self.stabilizer)), {}
