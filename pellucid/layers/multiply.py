"""The merge of a gate."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.layers.checks import same_shapes


class MultiplyCache(NamedTuple):
    """What Multiply keeps: its inputs."""

    xs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Multiply(Layer):
    """Multiply tensors of one shape, value by value: y = x1 x2 ...

    Source: the gates of Hochreiter and Schmidhuber 1997, section 4.
    """

    def init(self, shape: tuple[Shape, ...], rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the inputs' common shape."""
        return {}, same_shapes(self, shape)

    def forward(self, params: Params, x: tuple[Tensor, ...], mode: Mode) -> tuple[Tensor, MultiplyCache]:
        """Compute y = x1 x2 ..."""
        return math.prod(x[1:], start=x[0]), MultiplyCache(x)

    def backward(self, params: Params, cache: MultiplyCache, dy: Tensor) -> tuple[tuple[Tensor, ...], Params]:
        """Compute dx_i = dy times the product of the other inputs (a quotient y / x_i would fail at 0)."""
        xs = cache.xs
        return tuple(math.prod(xs[:i] + xs[i + 1 :], start=dy) for i in range(len(xs))), {}
