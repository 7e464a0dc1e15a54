"""The sum of two or more inputs, which merges the branches of a residual block.

Fused forms: FusedResidual and FusedAdd (fuse/combinators.py) in training; Residual and RunSum
(fuse/inference/runs.py) in prediction.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape, Trait
from pellucid.layers.checks import check_same_shapes


class AddCache(NamedTuple):
    """Cache of Add: its inputs."""

    xs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Add(Layer):
    """Sum tensors of the same shape: y = x1 + x2 + ...; each input receives dy.

    Source: He et al. 2016, equation 1.
    """

    # ADDITIVE: inputs add up to an output, so relevance is shared by their contributions.
    traits: ClassVar[Trait] = Trait.LINEAR | Trait.ADDITIVE | Trait.MULTIPLE_INPUTS

    def init(self, shape: tuple[Shape, ...], rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the inputs' common shape."""
        return {}, check_same_shapes(self, shape)

    def forward(self, params: Params, x: tuple[Tensor, ...], mode: Mode) -> tuple[Tensor, AddCache]:
        """Compute y = x1 + x2 + ..."""
        y = x[0]
        for other in x[1:]:
            y = y + other
        return y, AddCache(x)

    def backward(self, params: Params, cache: AddCache, dy: Tensor) -> tuple[tuple[Tensor, ...], Params]:
        """Return dy for every input."""
        return (dy,) * len(cache.xs), {}
