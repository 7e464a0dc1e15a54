"""Operators for windows of images, repetition, reversal, running sums and products."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers.base import Mode, Params, Trait
from pellucid.operators.base import TensorLayer
from pellucid.operators.moves import InputCache

_Pair = tuple[int, int]


@dataclass(frozen=True)
class Unfold(TensorLayer):
    """Return all windows of images (N, C, H, W) as columns: y is (N, C kH kW, windows). Padded values are 0."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.LINEAR

    kernel: _Pair
    stride: _Pair
    padding: _Pair
    dilation: _Pair

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Return the windows."""
        return F.unfold(x, self.kernel, self.dilation, self.padding, self.stride), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return, for each pixel, the sum of dy over the windows that contain it."""
        size = cache.x.shape[-2:]
        return F.fold(dy, size, self.kernel, self.dilation, self.padding, self.stride), {}


@dataclass(frozen=True)
class Fold(TensorLayer):
    """Sum columns (N, C kH kW, windows) to images (N, C, *size), at the positions of the windows in Unfold."""

    # ADDITIVE: inputs add up to an output, so relevance is shared by their contributions.
    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.LINEAR | Trait.ADDITIVE

    size: _Pair
    kernel: _Pair
    stride: _Pair
    padding: _Pair
    dilation: _Pair

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Return the sums."""
        return F.fold(x, self.size, self.kernel, self.dilation, self.padding, self.stride), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the windows of dy."""
        return F.unfold(dy, self.kernel, self.dilation, self.padding, self.stride), {}


@dataclass(frozen=True)
class Repeat(TensorLayer):
    """Repeat the tensor along each axis, and along new axes before the first one, like Tensor.repeat."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.LINEAR

    counts: tuple[int, ...]

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Return x, repeated."""
        return x.repeat(self.counts), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the sum of dy over the repetitions."""
        x = cache.x
        sizes = (*(1,) * (len(self.counts) - x.dim()), *x.shape)
        split_shape = [part for count, size in zip(self.counts, sizes, strict=True) for part in (count, size)]
        return dy.reshape(split_shape).sum(list(range(0, len(split_shape), 2))).reshape(x.shape), {}


@dataclass(frozen=True)
class Reverse(TensorLayer):
    """Reverse the order of the values along axes."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.LINEAR

    axes: tuple[int, ...]

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Return x, reversed."""
        return x.flip(self.axes), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dy, reversed."""
        return dy.flip(self.axes), {}


@dataclass(frozen=True)
class RunningProduct(TensorLayer):
    """Compute the products of all values up to each position of an axis, such as the light left along a ray."""

    traits: ClassVar[Trait] = Trait.ANY_AXES

    axis: int

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute y_k = x_1 ... x_k."""
        return x.cumprod(self.axis), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx_i = Σ_k≥i dy_k x_1 ... x_k / x_i, as products without x_i, which may be 0."""
        x = cache.x
        gradients: list[Tensor] = []
        for i in range(x.shape[self.axis]):
            others = x.index_fill(self.axis, torch.tensor(i, device=x.device), 1.0).cumprod(self.axis)
            later_dy = dy.narrow(self.axis, i, x.shape[self.axis] - i)
            gradients.append((later_dy * others.narrow(self.axis, i, later_dy.shape[self.axis])).sum(self.axis))
        return torch.stack(gradients, self.axis), {}


@dataclass(frozen=True)
class RunningSum(TensorLayer):
    """Sum along an axis up to each position: y_i = x_0 + ... + x_i."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.LINEAR | Trait.ADDITIVE

    axis: int

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute the sums."""
        return x.cumsum(self.axis), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx_i = dy_i + dy_(i+1) + ..., to the end."""
        return dy.flip(self.axis).cumsum(self.axis).flip(self.axis), {}
