"""The basic rule of layer-wise relevance propagation."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.layers.base import Cache, Layer, Params
from pellucid.rules.outputs import OutputRule
from pellucid.rules.term import contributions


@dataclass(frozen=True)
class Zero(OutputRule):
    """Share relevance by contributions: R_i = x_i Σ_j w_ij R_j / z_j, with z_j = Σ_i x_i w_ij + b_j.

    An output that is exactly 0 passes no relevance on. What the bias contributed is lost; without `bias`, z is the
    sum of the inputs' contributions only. Source: Bach et al. 2015, equation 56; Montavon et al. 2019, section 10.2.1.
    """

    bias: bool = True

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor, y: Tensor | None = None
    ) -> tuple[Any, Params]:
        """Return the relevance of each input; raises PellucidError for a layer that does not keep its input."""
        run = contributions(self, layer, params, cache, self.bias, y)
        return run.share(torch.where(run.y == 0, 0, dy / run.y)), {}
