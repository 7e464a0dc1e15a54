"""Resizing of images."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import PellucidError
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait, memory_format, pair
from pellucid.layers.checks import check_choice, check_image_shape, check_positive

KINDS = {  # forward, backward
    "nearest": (torch.ops.aten.upsample_nearest2d, torch.ops.aten.upsample_nearest2d_backward),
    "nearest-exact": (torch.ops.aten._upsample_nearest_exact2d, torch.ops.aten._upsample_nearest_exact2d_backward),
    "bilinear": (torch.ops.aten.upsample_bilinear2d, torch.ops.aten.upsample_bilinear2d_backward),
    "bicubic": (torch.ops.aten.upsample_bicubic2d, torch.ops.aten.upsample_bicubic2d_backward),
}
ANTIALIASED = {
    "bilinear": (torch.ops.aten._upsample_bilinear2d_aa, torch.ops.aten._upsample_bilinear2d_aa_backward),
    "bicubic": (torch.ops.aten._upsample_bicubic2d_aa, torch.ops.aten._upsample_bicubic2d_aa_backward),
}
WITH_CORNERS = ("bilinear", "bicubic")
COPYING = ("nearest", "bilinear")  # along an axis whose size does not change, for any scale


class UpsampleCache(NamedTuple):
    """Cache of Upsample: its input, (N, C, H, W)."""

    x: Tensor


@dataclass(frozen=True)
class Upsample(Layer):
    """Resize an image to `scale` times its size, rounded down, or to `size`.

    x is (N, C, H, W), y is (N, C, H', W'). With s the scale, or H' / H where the size is given, row i of y is row
    floor(i / s) of x for "nearest", and row floor((i + 1/2) / s) for "nearest-exact"; "bilinear" weighs the two rows
    around (i + 1/2) / s - 1/2, "bicubic" four of them by Keys' kernel with a = -3/4; with `align_corners` both stand
    around i (H - 1) / (H' - 1), so that corners meet corners. With `antialias` the kernel grows by 1 / s where s is
    below 1, so that a shrunken image shows every pixel; "bicubic" then has a = -1/2, and rows beyond the image weigh
    nothing where else the last one stands for them: what Pillow does.

    A scale that rounding leaves without effect, 1 < s < 1 + 1/H, has H' = H. Then row i of y is row i of x for
    "nearest" and "bilinear", and for both kinds with `antialias` or `align_corners`; "nearest-exact" and "bicubic"
    without them still read where s says. Likewise "nearest" reads row floor(i / 2) where H' = 2 H. Each axis goes by
    its own scale and size; all this is as in PyTorch on the CPU. Sources: Keys 1981, equation 4; Schumacher, General
    Filtered Image Rescaling, in Graphics Gems III, 1992.
    """

    traits: ClassVar[Trait] = Trait.LINEAR | Trait.SUM | Trait.RESAMPLE

    scale: float | tuple[float, float] | None = None
    size: int | tuple[int, int] | None = None
    kind: str = "nearest"
    align_corners: bool = False
    antialias: bool = False

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        if (self.scale is None) == (self.size is None):
            raise PellucidError(f"Upsample takes either scale or size, not scale={self.scale}, size={self.size}")
        if self.size is not None:
            check_positive(self, size=self.size)
        elif not all(type(s) in (int, float) and 0 < s < math.inf for s in self._scales()) or len(self._scales()) != 2:
            raise PellucidError(f"Upsample: scale must be a number above 0, or a pair of them, not {self.scale!r}")
        check_choice(self, tuple(KINDS), kind=self.kind)
        if self.align_corners and self.kind not in WITH_CORNERS:
            raise PellucidError(
                "Upsample: align_corners means something for kind='bilinear' and kind='bicubic' only; leave it out"
            )
        if self.antialias and self.kind not in ANTIALIASED:
            raise PellucidError(
                "Upsample: antialias means something for kind='bilinear' and kind='bicubic' only; leave it out"
            )
        if self.antialias and self.align_corners:  # PyTorch's kernels take both, but corners then do not meet
            raise PellucidError("Upsample: antialias has no align_corners; leave one of them out")

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the new shape."""
        channels, height, width = check_image_shape(self, shape)
        out = self._output(height, width)
        if min(out) < 1:
            raise PellucidError(
                f"Upsample: scale={self.scale} leaves nothing of an image of {height}x{width}; use a larger scale"
            )
        return {}, (channels, *out)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, UpsampleCache]:
        """Compute y = the weighted sum of the pixels of x near each output pixel."""
        out = self._output(*x.shape[2:])
        if self.antialias:
            return self._antialiased(x, out), UpsampleCache(x)
        worked = self._worked(x, out)
        y = KINDS[self.kind][0](x, worked, *self._settings(x, out))
        y = y if worked == out else y[:, :, : out[0]].contiguous(memory_format=memory_format(x))
        return y, UpsampleCache(x)

    def backward(self, params: Params, cache: UpsampleCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx[j] = the sum of dy over the pixels that read pixel j, by the weights they read it with."""
        x = cache.x
        out = self._output(*x.shape[2:])
        if self.antialias:
            return ANTIALIASED[self.kind][1](_wide(dy), out, x.shape, *self._settings(x, out)).to(dy.dtype), {}
        worked = self._worked(x, out)
        dy = dy if worked == out else F.pad(dy, (0, 0, 0, 1))
        return KINDS[self.kind][1](dy, worked, x.shape, *self._settings(x, out)), {}

    def _antialiased(self, x: Tensor, out: tuple[int, int]) -> Tensor:
        """Resize with PyTorch's kernel; to one column on its side, as the CPU's would repeat the first row there."""
        kernel, _ = ANTIALIASED[self.kind]
        high, wide = out
        align, *scales = self._settings(x, out)
        if wide > 1:
            return kernel(_wide(x), out, align, *scales).to(x.dtype)
        return kernel(_wide(x).mT, (wide, high), align, *reversed(scales)).mT.to(x.dtype)

    def _settings(self, x: Tensor, out: tuple[int, int]) -> tuple[Any, ...]:
        """Return the kernels' last arguments: align_corners, and the scales where the sizes do not imply them.

        Of an axis to copy they get no scale: with `antialias` the forward kernel ignores it, the backward kernel not.
        """
        scales = (None, None) if self.scale is None else self._scales()
        if self.antialias or self.kind in COPYING:
            axes = zip(scales, out, x.shape[2:], strict=True)
            scales = tuple(None if new == old else scale for scale, new, old in axes)
        return (self.align_corners, *scales) if self.kind in WITH_CORNERS else scales

    def _worked(self, x: Tensor, out: tuple[int, int]) -> tuple[int, int]:
        """Return the size to compute: `out`, or a row more that counts for nothing, where bicubic keeps both sizes.

        There the CPU's backward kernel only copies, though its forward kernel uses the scale.
        """
        kept = self.kind == "bicubic" and self.scale is not None and not self.align_corners and out == x.shape[2:]
        return (out[0] + 1, out[1]) if kept else out

    def _scales(self) -> tuple[Any, ...]:
        return self.scale if isinstance(self.scale, tuple) else (self.scale, self.scale)

    def _output(self, height: int, width: int) -> tuple[int, int]:
        if self.size is not None:
            return pair(self.size)
        high, wide = self._scales()
        return math.floor(height * high), math.floor(width * wide)


def _wide(x: Tensor) -> Tensor:
    """Return x in at least float32, which antialiasing kernels are made for."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
