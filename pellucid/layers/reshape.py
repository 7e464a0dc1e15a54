"""Reshaping without a change of the values."""
# Callers may not check argument types.
# pyright: reportUnnecessaryIsInstance=false

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_whole
from pellucid.base.text import plural
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class ReshapeCache(NamedTuple):
    """Cache of Reshape: its input."""

    x: Tensor


@dataclass(frozen=True)
class Reshape(Layer):
    """Reshape each example in row-major order: x of any shape (N, ...) becomes (N, *shape).

    One size in `shape` may be -1; it is inferred from the number of values and the other sizes.
    """

    traits: ClassVar[Trait] = Trait.LINEAR | Trait.RESHAPE | Trait.VIEW

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid shape."""
        check(isinstance(self.shape, tuple), "Reshape: shape", "a tuple without the batch axis", self.shape)
        if self.shape.count(-1) > 1:
            raise PellucidError(f"Reshape: one size can be -1, not several as in shape={self.shape}")
        for size in self.shape:
            if type(size) is not int or size != -1:
                check_whole(self, shape=size)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the new shape, which must have as many values as the input's shape."""
        count, sizes = math.prod(shape), self._output_shape(math.prod(shape))
        if math.prod(sizes) != count:
            raise PellucidError(
                f"Reshape: {tuple(shape)} has {plural(count, 'value')}, but {self.shape} has "
                f"{'a multiple of ' if -1 in self.shape else ''}{math.prod(self._explicit_sizes())}"
            )
        return {}, sizes

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, ReshapeCache]:
        """Reshape to (N, *shape)."""
        return x.reshape(x.shape[0], *self._output_shape(math.prod(x.shape[1:]))), ReshapeCache(x)

    def backward(self, params: Params, cache: ReshapeCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Reshape dy to the input's shape."""
        return dy.reshape(cache.x.shape), {}

    def _explicit_sizes(self) -> tuple[int, ...]:
        return tuple(size for size in self.shape if size != -1)

    def _output_shape(self, count: int) -> tuple[int, ...]:
        """Return the shape for `count` values, with -1 replaced by the inferred size."""
        inferred_size = count // math.prod(self._explicit_sizes())
        return tuple(inferred_size if size == -1 else size for size in self.shape)
