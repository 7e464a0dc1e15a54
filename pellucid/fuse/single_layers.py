"""Fused forms of single layers, which skip dx if it is not needed and can update parameters in the backward pass.

Max pooling is computed by comparisons of neighbours, where these are faster than PyTorch's kernel.
Tests: tests/fuse/test_forms.py, tests/fuse/test_max_pool.py.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.fuse.context import GRADIENTS, FusedForm, FusionContext, NoCache
from pellucid.fuse.kernels import max_pool2d_gradients, transposed_gradients
from pellucid.layers.base import Mode, Params, expanded_zeros, memory_format, pair
from pellucid.layers.concat import Concat, ConcatCache
from pellucid.layers.conv2d import Conv2d, Conv2dCache
from pellucid.layers.convtranspose2d import ConvTranspose2d, ConvTranspose2dCache
from pellucid.layers.dense import Dense, DenseCache, flatten_rows
from pellucid.layers.maxpool2d import MaxPool2d, MaxPool2dCache
from pellucid.layers.padchannels import PadChannels

_conv2d_backward = torch.ops.aten.convolution_backward.default

# For wide inputs and narrow outputs, oneMKL computes W xᵀ up to 1.7 times as fast as x Wᵀ (measured for 784 to 30).
MAX_UNITS = 64
MIN_INPUTS = 256
MIN_ROWS = 16


@dataclass(frozen=True)
class FusedDense(FusedForm):
    """Replace a Dense.

    With a rate in its `context`, the backward pass updates the parameters, W ← (1 - shrink) W - lr dyᵀ x, and returns
    no gradients. This needs one pass over W instead of two, and no memory for a gradient. If the context is frozen,
    only dx is computed, and x is not cached.
    """

    layer: Dense
    need_dx: bool  # whether dx is computed
    context: FusionContext = GRADIENTS

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, DenseCache]:
        """Compute y = x Wᵀ + b, as (W xᵀ + b)ᵀ for wide inputs and narrow outputs."""
        transposed_is_faster = self.layer.units < MAX_UNITS and self.layer.bias
        if transposed_is_faster and x.dim() == 2 and x.shape[0] >= MIN_ROWS and x.shape[1] >= MIN_INPUTS:
            y = torch.addmm(params["bias"].unsqueeze(1), params["weight"], x.t()).t()
        else:
            y, _ = self.layer.forward(params, x, mode)
        return y, DenseCache(x if self.context.learns else expanded_zeros(x))

    def backward(self, params: Params, cache: DenseCache, dy: Tensor) -> tuple[Tensor | None, Params]:
        """Compute dx if it is needed, and compute the gradients of weight and bias or update them."""
        dx = dy @ params["weight"] if self.need_dx else None  # before W changes
        if not self.context.learns:
            return dx, {}
        rate = self.context.rate
        if rate is None:
            return dx, self.layer.parameter_gradients(cache, dy)
        lr = rate.lr
        x, dy = flatten_rows(cache.x, dy)
        params["weight"].addmm_(dy.t(), x, beta=1 - rate.shrink, alpha=-lr)
        if self.layer.bias:
            params["bias"].sub_(dy.sum(0), alpha=lr)
        return dx, {}


@dataclass(frozen=True)
class FusedConv2d(FusedForm):
    """Replace a Conv2d whose padding is the same on opposite edges.

    With a rate in its `context`, the backward pass updates the parameters, W ← (1 - shrink) W - lr dW, and returns no
    gradients. The gradients of all layers are then never in memory at the same time. If the context is frozen, the
    gradients of the parameters are not computed, and only x's shape is cached.
    """

    layer: Conv2d
    need_dx: bool  # whether dx is computed
    context: FusionContext = GRADIENTS

    @cached_property
    def _forward_arguments(self) -> tuple[Any, ...]:
        layer = self.layer
        left, _, top, _ = layer.edges()
        return pair(layer.stride), (top, left), fast_dilation(layer), layer.groups

    @cached_property
    def _backward_arguments(self) -> tuple[Any, ...]:
        stride, padding, dilation, groups = self._forward_arguments
        learns = self.context.learns
        bias_sizes = [self.layer.filters] if self.layer.bias else None
        return (
            bias_sizes,
            stride,
            padding,
            dilation,
            False,
            (0, 0),
            groups,
            (self.need_dx, learns, learns and self.layer.bias),
        )

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Conv2dCache]:
        """Run the convolution."""
        y = torch.conv2d(x, params["weight"], params.get("bias"), *self._forward_arguments)
        return y, Conv2dCache(x if self.context.learns else expanded_zeros(x))

    def backward(self, params: Params, cache: Conv2dCache, dy: Tensor) -> tuple[Tensor | None, Params]:
        """Compute the gradients of weight and bias or update them, and compute dx if it is needed."""
        x = cache.x
        if not self.context.learns:  # the kernel needs x's shape, and would materialize an expanded scalar
            x = torch.empty(x.shape, dtype=dy.dtype, device=dy.device, memory_format=memory_format(dy))
        dx, dweight, dbias = _conv2d_backward(dy, x, params["weight"], *self._backward_arguments)
        if not self.context.learns:
            return dx, {}
        rate = self.context.rate
        if rate is None:
            return dx, {"weight": dweight, "bias": dbias} if self.layer.bias else {"weight": dweight}
        if rate.shrink:
            params["weight"].mul_(1 - rate.shrink)
        params["weight"].sub_(dweight, alpha=rate.lr)
        if self.layer.bias:
            params["bias"].sub_(dbias, alpha=rate.lr)
        return dx, {}

    def pull(self, params: Params, cache: Conv2dCache, dy: Tensor) -> Tensor:
        """Compute only dx, without gradients of parameters."""
        return self.layer.pull(params, cache, dy)


@dataclass(frozen=True)
class FusedConvTranspose2d(FusedForm):
    """Replace a ConvTranspose2d whose dx is not needed."""

    layer: ConvTranspose2d

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, ConvTranspose2dCache]:
        """Run the transposed convolution."""
        return self.layer.forward(params, x, mode)

    def backward(self, params: Params, cache: ConvTranspose2dCache, dy: Tensor) -> tuple[None, Params]:
        """Compute the gradients of weight and bias."""
        return transposed_gradients(self.layer, params, cache, dy, need_dx=False)


def fast_dilation(layer: Conv2d) -> tuple[int, int]:
    """Return the dilation for computation: (2, 2) instead of (1, 1) for 1 x 1 convolutions of stride 1.

    For a 1 x 1 kernel, dilation does not change the result. But without dilation and stride, PyTorch chooses a kernel
    that is three times slower if a thread processes fewer than 16 images.
    """
    return (2, 2) if pair(layer.kernel) == pair(layer.stride) == (1, 1) else pair(layer.dilation)


@dataclass(frozen=True)
class FusedPadChannels(FusedForm):
    """Replace a PadChannels, without caching its input, which only relevance rules need."""

    layer: PadChannels

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, NoCache]:
        """Append the channels of zeros."""
        return self.layer.forward(params, x, mode)[0], NoCache()

    def backward(self, params: Params, cache: NoCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dy for the channels of x."""
        return F.pad(dy, (0, 0, 0, 0, -self.layer.before, -self.layer.after)), {}


@dataclass(frozen=True)
class FusedConcat(FusedForm):
    """Replace a Concat, caching only the shapes of its inputs."""

    layer: Concat

    def forward(self, params: Params, x: tuple[Tensor, ...], mode: Mode) -> tuple[Tensor, ConcatCache]:
        """Concatenate the inputs."""
        return self.layer.forward(params, x, mode)[0], ConcatCache(tuple(map(expanded_zeros, x)))

    def backward(self, params: Params, cache: ConcatCache, dy: Tensor) -> tuple[tuple[Tensor, ...], Params]:
        """Return each input's part of dy."""
        return self.layer.backward(params, cache, dy)


_max_pool2d = torch.ops.aten.max_pool2d_with_indices.default

# PyTorch's kernel for channels-last images computes so many channels at once. For fewer channels, and for other memory
# formats, it branches at each value.
MIN_CHANNELS = 16


class PairsCache(NamedTuple):
    """Where the maximum of each 2 x 2 window is: in the right one of two columns, and in the lower one of two rows."""

    is_right: Tensor  # (N, C, H, W / 2) bool
    is_lower: Tensor  # (N, C, H / 2, W / 2) bool


def is_faster_in_pairs(layer: MaxPool2d, x: Tensor) -> bool:
    """Return whether `pool_pairs` computes the layer's output, faster than PyTorch's kernel."""
    has_pairs = pair(layer.kernel) == pair(layer.step) == (2, 2) and pair(layer.padding) == (0, 0)
    if not has_pairs or pair(layer.dilation) != (1, 1) or x.device.type != "cpu" or x.dim() != 4:
        return False
    if x.shape[2] % 2 or x.shape[3] % 2:
        return False
    return x.shape[1] < MIN_CHANNELS or memory_format(x) is torch.contiguous_format


def pool_pairs(x: Tensor) -> Tensor:
    """Return the maximum of each 2 x 2 window of x (N, C, H, W), whose height and width are even."""
    return torch.maximum(*_pairs(torch.maximum(*_pairs(x, 3)), 2))


def _pairs(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return views of the even and of the odd rows (axis 2) or columns (axis 3) of images (N, C, H, W)."""
    return (x[:, :, ::2], x[:, :, 1::2]) if axis == 2 else (x[..., ::2], x[..., 1::2])


@dataclass(frozen=True)
class FusedMaxPool2d(FusedForm):
    """Replace a MaxPool2d without dilation."""

    layer: MaxPool2d

    @cached_property
    def _window(self) -> tuple[Any, ...]:
        layer = self.layer
        return pair(layer.kernel), pair(layer.step), pair(layer.padding), pair(layer.dilation), layer.ceil_mode

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, MaxPool2dCache | PairsCache]:
        """Compute the maximum over each window."""
        if is_faster_in_pairs(self.layer, x):
            left, right = _pairs(x, 3)
            upper, lower = _pairs(torch.maximum(left, right), 2)
            return torch.maximum(upper, lower), PairsCache(right > left, lower > upper)
        y, switches = _max_pool2d(x, *self._window)
        return y, MaxPool2dCache(switches, expanded_zeros(x))

    def backward(self, params: Params, cache: MaxPool2dCache | PairsCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Add each element of dy to dx at the position of its maximum."""
        if isinstance(cache, PairsCache):
            is_right, is_lower = cache
            return _to_pairs(_to_pairs(dy, is_lower, 2), is_right, 3), {}
        return max_pool2d_gradients(self.layer, params, cache, dy)


def _to_pairs(dy: Tensor, is_second: Tensor, axis: int) -> Tensor:
    """Return the gradients of pairs along an axis: dy for the first or the second of each pair, and 0 for the other.

    The gradients must be finite, as a training checks: for infinity, both would be NaN.
    """
    shape = [*dy.shape]
    shape[axis] *= 2
    dx = torch.empty(shape, dtype=dy.dtype, memory_format=memory_format(is_second))
    first, second = _pairs(dx, axis)
    torch.mul(dy, is_second, out=second)
    torch.sub(dy, second, out=first)
    return dx
