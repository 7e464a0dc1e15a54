"""Operators that select values with a mask, and the maximum along one axis."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Mode, Params, Trait, expanded_zeros
from pellucid.operators.base import TensorLayer, unbroadcast
from pellucid.operators.moves import InputsCache


@dataclass(frozen=True)
class MaskedFill(TensorLayer):
    """Replace values with the number `value` where a second input, a mask of booleans, is True."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES
    constants: ClassVar[tuple[int, ...]] = (1,)

    value: float

    def forward(self, params: Params, x: tuple[Tensor, Tensor], mode: Mode) -> tuple[Tensor, InputsCache]:
        """Return x, with the number where the mask is True."""
        return x[0].masked_fill(x[1], self.value), InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[Tensor, None], Params]:
        """Return dy, with 0 where the mask is True."""
        x, mask = cache.xs
        return (unbroadcast(dy.masked_fill(mask, 0), x), None), {}


@dataclass(frozen=True)
class Where(TensorLayer):
    """Return the second input's values where the first input, a mask of booleans, is True, else the third input's."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.MULTIPLE_INPUTS
    constants: ClassVar[tuple[int, ...]] = (0,)

    def forward(self, params: Params, x: tuple[Tensor, Tensor, Tensor], mode: Mode) -> tuple[Tensor, InputsCache]:
        """Return the chosen values."""
        return torch.where(*x), InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[None, Tensor, Tensor], Params]:
        """Return dy where y is the input's value, and 0 elsewhere, summed over broadcast axes."""
        mask, a, b = cache.xs
        return (None, unbroadcast(torch.where(mask, dy, 0), a), unbroadcast(torch.where(mask, 0, dy), b)), {}


class MaximumCache(NamedTuple):
    """Cache of LargestOne: the index of each maximum along the axis, and a tensor with the shape of the input."""

    positions: Tensor
    x: Tensor  # expanded from a single stored value


@dataclass(frozen=True)
class LargestOne(TensorLayer):
    """Compute the maximum along one axis, which has size 1 in y with `keep`, and is dropped otherwise.

    One of equal maxima receives the gradient, as in torch.max; Largest divides the gradient among them.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES

    axis: int
    keep: bool = False

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, MaximumCache]:
        """Compute the maximum."""
        y, positions = x.max(self.axis, keepdim=True)
        return y if self.keep else y.squeeze(self.axis), MaximumCache(positions, expanded_zeros(x))

    def backward(self, params: Params, cache: MaximumCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dy at the positions of the maxima, and zeros elsewhere."""
        dy = dy if self.keep else dy.unsqueeze(self.axis)
        return dy.new_zeros(cache.x.shape).scatter(self.axis, cache.positions, dy), {}
