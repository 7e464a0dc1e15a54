"""The product of two or more inputs, such as a gate and the values that it scales."""
# Callers may not check argument types.
# pyright: reportUnnecessaryIsInstance=false

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class MultiplyCache(NamedTuple):
    """Cache of Multiply: its inputs."""

    xs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Multiply(Layer):
    """Multiply tensors elementwise: y = x1 x2 ...

    An axis of size 1 is broadcast to the size of the other inputs: a gate (N, C, 1, 1) scales the channels of
    (N, C, H, W), and its gradient is summed over the pixels. All other sizes must be equal.
    Source: the gates of Hochreiter and Schmidhuber 1997, section 4; channel gates: Hu, Shen and Sun 2018, equation 4.
    """

    traits: ClassVar[Trait] = Trait.MULTIPLE_INPUTS

    def init(self, shape: tuple[Shape, ...], rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the broadcast shape of the inputs."""
        if len(shape) < 2 or not all(isinstance(sizes, tuple) and len(sizes) == len(shape[0]) for sizes in shape):
            raise PellucidError(f"Multiply takes two or more inputs with the same number of axes, not {shape}")
        axis_sizes = [{size for size in axis if size != 1} or {1} for axis in zip(*shape, strict=True)]
        if any(len(sizes) > 1 for sizes in axis_sizes):
            raise PellucidError(f"Multiply takes two or more inputs whose sizes agree or are 1, not {shape}")
        return {}, tuple(sizes.pop() for sizes in axis_sizes)

    def forward(self, params: Params, x: tuple[Tensor, ...], mode: Mode) -> tuple[Tensor, MultiplyCache]:
        """Compute y = x1 x2 ..."""
        return math.prod(x[1:], start=x[0]), MultiplyCache(x)

    def backward(self, params: Params, cache: MultiplyCache, dy: Tensor) -> tuple[tuple[Tensor, ...], Params]:
        """Compute dx_i = dy times the product of the other inputs, summed over the axes along which x_i was broadcast.

        The product is not computed as y / x_i, which fails for x_i = 0.
        """
        xs = cache.xs
        dxs = (math.prod(xs[:i] + xs[i + 1 :], start=dy) for i in range(len(xs)))
        return tuple(dx.sum_to_size(x.shape) for dx, x in zip(dxs, xs, strict=True)), {}
