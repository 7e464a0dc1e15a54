"""Batch normalization that does not learn: a factor and a summand for each channel, and nothing to keep."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.fuse.nocache import NoCache
from pellucid.fuse.recompute import normalized
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.layers.batchnorm import BatchNorm, RunningCache


@dataclass(frozen=True)
class FrozenNorm(Layer):
    """Replace a BatchNorm by its running statistics, with which dx does not depend on x.

    `over_x` and `over_dy` say whose memory the results may take.
    """

    norm: BatchNorm
    over_x: bool
    over_dy: bool

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise the layer."""
        return self.norm.init(shape, rng)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, NoCache]:
        """Compute y = x (w / σ) + (b - μ w / σ), over x where that is allowed."""
        return normalized(self.norm, params, RunningCache(x), x if self.over_x else None), NoCache()

    def backward(self, params: Params, cache: NoCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy (w / σ), over dy where that is allowed."""
        scale = params["weight"] * torch.rsqrt(params["running_var"] + self.norm.epsilon)
        scale = scale.view(-1, *(1,) * (dy.dim() - 2)).to(dy.dtype)
        return dy.mul_(scale) if self.over_dy else dy * scale, {}
