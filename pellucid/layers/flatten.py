"""Flattening of images to vectors."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class FlattenCache(NamedTuple):
    """Cache of Flatten: its input."""

    x: Tensor


@dataclass(frozen=True)
class Flatten(Layer):
    """Flatten all axes except the batch axis: (N, C, H, W) becomes (N, C H W), channels first."""

    traits: ClassVar[Trait] = Trait.LINEAR | Trait.RESHAPE | Trait.VIEW

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the shape (number of values per example,)."""
        return {}, (math.prod(shape),)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, FlattenCache]:
        """Reshape to (N, C H W)."""
        return x.reshape(len(x), math.prod(x.shape[1:])), FlattenCache(x)

    def backward(self, params: Params, cache: FlattenCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Reshape dy to the input's shape."""
        return dy.reshape(cache.x.shape), {}
