"""Max unpooling, a partial inverse of max pooling."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_positive
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait, pair
from pellucid.layers.checks import check_image_shape, check_pool_padding, check_same_shapes, check_window_output


class MaxUnpool2dCache(NamedTuple):
    """Cache of MaxUnpool2d: its inputs."""

    x: Tensor  # (N, C, H, W)
    switches: Tensor  # (N, C, H, W) int64: row * W' + column in the output's channel


@dataclass(frozen=True)
class MaxUnpool2d(Layer):
    """Place each value at the position that the maximum had before pooling, with 0 elsewhere.

    The input is a tuple (x, switches), both (N, C, H, W); the switches are in MaxPool2d's cache. y is (N, C, H', W')
    with H' = s (H - 1) - 2 p + k, or with `size` = (H', W'), which is needed if pooling rounded its output size. If
    switches are equal, which is possible for overlapping windows, y contains one of their values. The gradient of the
    switches is None.
    Source: Zeiler and Fergus 2014, section 2.1.
    """

    traits: ClassVar[Trait] = Trait.RESAMPLE

    kernel: int | tuple[int, int]
    stride: int | tuple[int, int] | None = None
    padding: int | tuple[int, int] = 0
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_positive(self, kernel=self.kernel, stride=self.step)
        check_pool_padding(self, self.padding, self.kernel)
        if isinstance(self.size, int):
            raise PellucidError(f"MaxUnpool2d: size must be a pair (height, width), not {self.size!r}")
        if self.size is not None:
            check_positive(self, size=self.size)

    @property
    def step(self) -> int | tuple[int, int]:
        """The stride, by default the kernel size."""
        return self.kernel if self.stride is None else self.stride

    def init(self, shape: tuple[Shape, Shape], rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the shape before pooling."""
        if len(shape) != 2:
            raise PellucidError(f"MaxUnpool2d takes a tuple (x, switches) of the same shape, not {shape}")
        channels, *size = check_image_shape(self, check_same_shapes(self, shape))
        output_size = self._output_size(*size)
        for axis, length in zip(("height", "width"), output_size, strict=True):
            check_window_output(self, axis, length)
        return {}, (channels, *output_size)

    def forward(self, params: Params, x: tuple[Tensor, Tensor], mode: Mode) -> tuple[Tensor, MaxUnpool2dCache]:
        """Compute y[switch] = x, 0 elsewhere."""
        values, switches = x
        y = torch.ops.aten.max_unpool2d(values, switches, self._output_size(*values.shape[2:]))
        return y, MaxUnpool2dCache(values, switches)

    def backward(self, params: Params, cache: MaxUnpool2dCache, dy: Tensor) -> tuple[tuple[Tensor, None], Params]:
        """Compute dx = dy[switch]."""
        dx = dy.flatten(2).gather(2, cache.switches.flatten(2))  # (N, C, H W)
        return (dx.view(cache.x.shape), None), {}

    def _output_size(self, *size: int) -> tuple[int, int]:
        if self.size is not None:
            return self.size
        axes = zip(size, pair(self.kernel), pair(self.step), pair(self.padding), strict=True)
        height, width = (s * (length - 1) - 2 * p + k for length, k, s, p in axes)
        return height, width
