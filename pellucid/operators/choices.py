"""Operators that select values: with a mask, and the maxima of an axis and of windows."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers.base import Mode, Params, Trait, expanded_zeros
from pellucid.operators.base import TensorLayer, unbroadcast
from pellucid.operators.moves import InputCache, InputsCache


@dataclass(frozen=True)
class MaskedFill(TensorLayer):
    """Replace values with the number `value` where a second input, a mask of booleans, is True."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES
    constants: ClassVar[tuple[int, ...]] = (1,)  # the mask gets no gradient

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
    constants: ClassVar[tuple[int, ...]] = (0,)  # the mask gets no gradient

    def forward(self, params: Params, x: tuple[Tensor, Tensor, Tensor], mode: Mode) -> tuple[Tensor, InputsCache]:
        """Return the chosen values."""
        return torch.where(*x), InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[None, Tensor, Tensor], Params]:
        """Return dy where y is the input's value, and 0 elsewhere, summed over broadcast axes."""
        mask, a, b = cache.xs
        return (None, unbroadcast(torch.where(mask, dy, 0), a), unbroadcast(torch.where(mask, 0, dy), b)), {}


class MaximumCache(NamedTuple):
    """Cache of maxima: the index of each along the axis or axes, and a tensor with the shape of the input."""

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


@dataclass(frozen=True)
class AdaptiveMaxPool(TensorLayer):
    """Compute the maxima of windows along the last axes that are chosen such that these have the sizes `sizes`.

    x is (N, C, ...), with one to three more axes; the windows are those of AdaptiveAvgPool2d. One of equal maxima
    receives the gradient.
    """

    traits: ClassVar[Trait] = Trait.RESAMPLE | Trait.COPIES_VALUES

    sizes: tuple[int, ...]

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, MaximumCache]:
        """Compute the maximum of each window, and its index in the flattened axes."""
        pools = F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d
        y, positions = pools[len(self.sizes) - 1](x, self.sizes, return_indices=True)
        return y, MaximumCache(positions, expanded_zeros(x))

    def backward(self, params: Params, cache: MaximumCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = the sum of dy over the windows that have their maximum there, and 0 elsewhere."""
        planes = dy.new_zeros(cache.x.shape).flatten(2)
        planes.scatter_add_(2, cache.positions.flatten(2), dy.flatten(2))
        return planes.view(cache.x.shape), {}


@dataclass(frozen=True)
class MaxPositions(TensorLayer):
    """Compute the position row W + column of the maximum of each window of MaxPool2d, which MaxUnpool2d takes."""

    traits: ClassVar[Trait] = Trait.RESAMPLE

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    ceil_mode: bool = False

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute the positions, int64."""
        window = self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode
        return F.max_pool2d_with_indices(x, *window)[1], InputCache(expanded_zeros(x))

    def backward(self, params: Params, cache: InputCache, dy: Tensor | None) -> tuple[None, Params]:
        """Return no gradient."""
        return None, {}
