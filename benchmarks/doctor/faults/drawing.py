"""Layers that are random in every mode, like user-defined layers that ignore `mode.train`."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape


class DropoutCache(NamedTuple):
    """The factor of each value, of the shape of x."""

    factor: Tensor


@dataclass(frozen=True)
class AlwaysDropout(Layer):
    """Dropout in every mode."""

    rate: float = 0.5

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the same shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, DropoutCache]:
        """Drop values with PyTorch's global generator, in any mode."""
        factor = (torch.rand_like(x) >= self.rate) / (1 - self.rate)
        return x * factor, DropoutCache(factor)

    def backward(self, params: Params, cache: DropoutCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dx = dy times the cached factor, and no gradients of parameters."""
        return dy * cache.factor, {}


@dataclass(frozen=True)
class AlwaysNoise(Layer):
    """Gaussian noise in every mode; its standard deviation is `share` times that of the input."""

    share: float = 0.1

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the same shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        """Add noise from PyTorch's global generator, in any mode."""
        return x + self.share * x.std() * torch.randn_like(x), None

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dx = dy; the noise is treated as a constant."""
        return dy, {}
