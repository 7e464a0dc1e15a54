"""Larger images from small ones."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import PellucidError
from pellucid.layers.base import Layer, Mode, Params, Shape, pair
from pellucid.layers.checks import choice, image_shape, positive


class UpsampleCache(NamedTuple):
    """What Upsample keeps: its input, (N, C, H, W)."""

    x: Tensor


@dataclass(frozen=True)
class Upsample(Layer):
    """Resize an image to `scale` times its size, or to `size`, from the nearest or between the four nearest pixels.

    x is (N, C, H, W), y is (N, C, H', W'). "nearest" reads row floor(i H / H'); "bilinear" weighs the rows around
    (i + 1/2) H / H' - 1/2, or, with `align_corners`, around i (H - 1) / (H' - 1), so that corners meet corners.
    """

    scale: int | tuple[int, int] | None = None
    size: int | tuple[int, int] | None = None
    kind: str = "nearest"
    align_corners: bool = False

    def __post_init__(self) -> None:
        """Raise PellucidError for a hyperparameter that means nothing."""
        if (self.scale is None) == (self.size is None):
            raise PellucidError(f"Upsample takes either scale or size, not scale={self.scale}, size={self.size}")
        if self.scale is not None:
            positive(self, scale=self.scale)
        if self.size is not None:
            positive(self, size=self.size)
        choice(self, ("nearest", "bilinear"), kind=self.kind)
        if self.kind == "nearest" and self.align_corners:
            raise PellucidError("Upsample: align_corners means something for kind='bilinear' only; leave it out")

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the new shape."""
        channels, height, width = image_shape(self, shape)
        return {}, (channels, *self._output(height, width))

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, UpsampleCache]:
        """Compute y = the weighted sum of the pixels of x near each output pixel."""
        align = self.align_corners if self.kind == "bilinear" else None
        y = F.interpolate(x, self._output(*x.shape[2:]), mode=self.kind, align_corners=align)
        return y, UpsampleCache(x)

    def backward(self, params: Params, cache: UpsampleCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx[j] = the sum of dy over the pixels that read pixel j, by the weights they read it with."""
        out = self._output(*cache.x.shape[2:])
        if self.kind == "nearest":
            return torch.ops.aten.upsample_nearest2d_backward(dy, out, cache.x.shape), {}
        return torch.ops.aten.upsample_bilinear2d_backward(dy, out, cache.x.shape, self.align_corners), {}

    def _output(self, height: int, width: int) -> tuple[int, int]:
        if self.size is not None:
            return pair(self.size)
        high, wide = pair(self.scale or 1)
        return height * high, width * wide
