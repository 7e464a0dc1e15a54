"""Sums over dilated windows, for which PyTorch has no pooling kernel, and their gradients."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers.base import memory_format


@dataclass(frozen=True)
class Windows:
    """The positions of windows over an image of `size`, each pair in the order (height, width).

    Pixel i of window o is at row s o + d i - p of the image; values beyond the image are 0. Sums are computed in at
    least float32, so intermediate results are neither rounded to half precision nor overflow.
    """

    size: tuple[int, int]
    output_size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def sums(self, x: Tensor) -> Tensor:
        """Return the sum over each window: (N, C, H, W) to (N, C, H', W')."""
        first_pixel, *other_pixels = self._pixels(F.pad(x, self._edges()))
        total = first_pixel.to(sum_dtype(x.dtype), copy=True)
        for pixel in other_pixels:
            total += pixel
        return total

    def scatter(self, dy: Tensor) -> Tensor:
        """Return for each pixel the sum of dy over the windows that contain it: (N, C, H', W') to (N, C, H, W)."""
        left, right, top, bottom = edges = self._edges()
        shape = (*dy.shape[:2], self.size[0] + top + bottom, self.size[1] + left + right)
        dx = torch.empty(shape, dtype=sum_dtype(dy.dtype), device=dy.device, memory_format=memory_format(dy)).zero_()
        for pixel in self._pixels(dx):
            pixel.add_(dy)
        return F.pad(dx, [-edge for edge in edges])

    def _edges(self) -> tuple[int, int, int, int]:
        """Return how far windows extend beyond the image: (left, right, top, bottom), negative if they end inside."""
        extents = [
            s * (out - 1) + d * (k - 1) + 1
            for out, k, s, d in zip(self.output_size, self.kernel, self.stride, self.dilation, strict=True)
        ]
        (top, left), (height, width) = self.padding, self.size
        return left, extents[1] - left - width, top, extents[0] - top - height

    def _pixels(self, padded: Tensor) -> Iterator[Tensor]:
        """Yield, for each position in a window, the view of its values in all windows: (N, C, H', W')."""
        (out_height, out_width), (stride_down, stride_across) = self.output_size, self.stride
        for i in range(self.kernel[0]):
            rows = padded[:, :, self.dilation[0] * i :: stride_down][:, :, :out_height]
            for j in range(self.kernel[1]):
                yield rows[:, :, :, self.dilation[1] * j :: stride_across][:, :, :, :out_width]


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which values of this dtype are summed: at least float32."""
    return torch.promote_types(dtype, torch.float32)
