"""Layers that draw at random in every mode, as people's own layers do when they forget to ask for the mode."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape


class DropoutCache(NamedTuple):
    """What was multiplied."""

    factor: Tensor


@dataclass(frozen=True)
class AlwaysDropout(Layer):
    """Dropout that is never switched off."""

    rate: float = 0.5

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters; the shape stays."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, DropoutCache]:
        """Drop values by PyTorch's own generator, whatever the mode."""
        factor = (torch.rand_like(x) >= self.rate) / (1 - self.rate)
        return x * factor, DropoutCache(factor)

    def backward(self, params: Params, cache: DropoutCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dy times what x was multiplied by."""
        return dy * cache.factor, {}


@dataclass(frozen=True)
class AlwaysNoise(Layer):
    """Noise of a share of the values' size that is never switched off."""

    share: float = 0.1

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters; the shape stays."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        """Add noise by PyTorch's own generator, whatever the mode."""
        return x + self.share * x.std() * torch.randn_like(x), None

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dy: the noise is taken as it came."""
        return dy, {}
