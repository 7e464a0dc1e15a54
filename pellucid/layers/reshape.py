"""Another shape for the same values."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.layers.checks import whole


class ReshapeCache(NamedTuple):
    """What Reshape keeps: its input."""

    x: Tensor


@dataclass(frozen=True)
class Reshape(Layer):
    """Read the values of each sample, last axis fastest, into another shape: (N, *any) becomes (N, *shape)."""

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raise PellucidError for a shape that is none."""
        if not isinstance(self.shape, tuple):
            raise PellucidError(f"Reshape: shape must be a tuple without the batch axis, not {self.shape!r}")
        for size in self.shape:
            whole(self, shape=size)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the new shape, which must hold as many values as the old."""
        if math.prod(shape) != math.prod(self.shape):
            raise PellucidError(
                f"Reshape: {tuple(shape)} holds {math.prod(shape)} values, {self.shape} holds {math.prod(self.shape)}"
            )
        return {}, self.shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, ReshapeCache]:
        """Reshape to (N, *shape)."""
        return x.reshape(x.shape[0], *self.shape), ReshapeCache(x)

    def backward(self, params: Params, cache: ReshapeCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Reshape dy to the input's shape."""
        return dy.reshape(cache.x.shape), {}
