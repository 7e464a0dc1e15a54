"""Average pooling."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers.base import Layer, Mode, Params, Shape, pair
from pellucid.layers.checks import image_shape, pool_padding, positive, window_outputs


class AvgPool2dCache(NamedTuple):
    """What AvgPool2d keeps: its input, (N, C, H, W)."""

    x: Tensor


@dataclass(frozen=True)
class AvgPool2d(Layer):
    """Take the mean of each window.

    x is (N, C, H, W), y is (N, C, H', W') with H' = floor((H + 2 p - k) / s) + 1, or rounded up with `ceil_mode`;
    `stride` is the kernel unless given. Zeros of the padding count as values unless `count_include_pad` is False;
    what a rounded-up window has beyond the padding never counts. Source: LeCun et al. 1989.
    """

    kernel: int | tuple[int, int]
    stride: int | tuple[int, int] | None = None
    padding: int | tuple[int, int] = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def __post_init__(self) -> None:
        """Raise PellucidError for a hyperparameter that means nothing."""
        positive(self, kernel=self.kernel, stride=self.step)
        pool_padding(self, self.padding, self.kernel)

    @property
    def step(self) -> int | tuple[int, int]:
        """The stride, which is the kernel unless given."""
        return self.kernel if self.stride is None else self.stride

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the shape that pooling leaves."""
        channels, *size = image_shape(self, shape)
        outs = window_outputs(
            self, tuple(size), pair(self.kernel), pair(self.step), pair(self.padding), ceil_mode=self.ceil_mode
        )
        return {}, (channels, *outs)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, AvgPool2dCache]:
        """Compute y = the mean over each window of x."""
        y = F.avg_pool2d(x, self.kernel, self.step, self.padding, self.ceil_mode, self.count_include_pad)
        return y, AvgPool2dCache(x)

    def backward(self, params: Params, cache: AvgPool2dCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx[i] = the sum of dy / (values in the window) over the windows that hold i."""
        dx = torch.ops.aten.avg_pool2d_backward(
            dy,
            cache.x,
            pair(self.kernel),
            pair(self.step),
            pair(self.padding),
            self.ceil_mode,
            self.count_include_pad,
            None,  # no other divisor than the window's size
        )
        return dx, {}
