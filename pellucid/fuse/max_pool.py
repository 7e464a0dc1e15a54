"""Max pooling by comparisons of neighbours, where these are faster than PyTorch's kernel.

Tests: tests/fuse/test_max_pool.py.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.fuse.context import FusedForm
from pellucid.fuse.kernels import max_pool2d_gradients
from pellucid.layers.base import Mode, Params, expanded_zeros, memory_format, pair
from pellucid.layers.maxpool2d import MaxPool2d, MaxPool2dCache

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
