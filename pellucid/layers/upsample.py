"""Resizing of images by interpolation.

Fused form: KernelForm (fuse/kernel_form.py) in training.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_choice, check_positive
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait, memory_format, pair
from pellucid.layers.checks import check_image_shape
from pellucid.layers.windows import sum_dtype

KERNELS = {
    "nearest": torch.ops.aten.upsample_nearest2d,
    "nearest-exact": torch.ops.aten._upsample_nearest_exact2d,
    "bilinear": torch.ops.aten.upsample_bilinear2d,
    "bicubic": torch.ops.aten.upsample_bicubic2d,
}
ANTIALIASED_KERNELS = {
    "bilinear": torch.ops.aten._upsample_bilinear2d_aa,
    "bicubic": torch.ops.aten._upsample_bicubic2d_aa,
}
ALIGN_CORNERS_KINDS = ("bilinear", "bicubic")  # kinds that accept align_corners
COPYING_KINDS = ("nearest", "bilinear")  # kinds that copy x along an axis whose size does not change, for any scale


class UpsampleCache(NamedTuple):
    """Cache of Upsample: its input, (N, C, H, W)."""

    x: Tensor


@dataclass(frozen=True)
class Upsample(Layer):
    """Resize an image to `scale` times its size, rounded down, or to `size`.

    x is (N, C, H, W), y is (N, C, H', W'). Let s be the scale, or H' / H if the size is given. Row i of y is row
    floor(i / s) of x for "nearest", and row floor((i + 1/2) / s) for "nearest-exact". "bilinear" interpolates between
    the two rows around (i + 1/2) / s - 1/2, "bicubic" between four rows, by Keys' kernel with a = -3/4. With
    `align_corners`, both use i (H - 1) / (H' - 1) instead, which aligns the centres of the corner pixels. With
    `antialias` and s below 1, the kernel is 1 / s times as wide, so every input pixel contributes to y. "bicubic" then
    has a = -1/2, and rows beyond the image have weight 0 instead of the values of the last row, as in Pillow.

    For 1 < s < 1 + 1/H, rounding results in H' = H. Then row i of y is row i of x for "nearest" and "bilinear", and for
    "bicubic" with `antialias` or `align_corners`; "nearest-exact" and other "bicubic" still use the positions above.
    Also, "nearest" copies row floor(i / 2) if H' = 2 H. Each axis has its own scale and size. All results equal those
    of PyTorch on the CPU. Sources: Keys 1981, equation 4; Schumacher, General Filtered Image Rescaling, in Graphics
    Gems III, 1992.
    """

    # ADDITIVE: inputs add up to an output, so relevance is shared by their contributions.
    traits: ClassVar[Trait] = Trait.LINEAR | Trait.ADDITIVE | Trait.RESAMPLE

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
            raise PellucidError(f"Upsample: scale must be finite and above 0, or two such numbers, not {self.scale!r}")
        check_choice(self, tuple(KERNELS), kind=self.kind)
        if self.align_corners and self.kind not in ALIGN_CORNERS_KINDS:
            raise PellucidError(
                "Upsample: align_corners has an effect only for kind='bilinear' and kind='bicubic'; leave it out"
            )
        if self.antialias and self.kind not in ANTIALIASED_KERNELS:
            raise PellucidError(
                "Upsample: antialias has an effect only for kind='bilinear' and kind='bicubic'; leave it out"
            )
        if self.antialias and self.align_corners:  # PyTorch's kernels accept both, but then do not align the corners
            raise PellucidError("Upsample: antialias and align_corners cannot be combined; leave one of them out")

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the shape after resizing."""
        channels, height, width = check_image_shape(self, shape)
        output_size = self.output_size(height, width)
        if min(output_size) < 1:
            raise PellucidError(
                f"Upsample: scale={self.scale} reduces an image of {height}x{width} to nothing; use a larger scale"
            )
        return {}, (channels, *output_size)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, UpsampleCache]:
        """Compute y = the weighted sum of the pixels of x near each output pixel."""
        output_size = self.output_size(*x.shape[2:])
        if self.antialias:
            return self._resize_antialiased(x, output_size), UpsampleCache(x)
        computed_size = self.computed_size(x, output_size)
        y = KERNELS[self.kind](x, computed_size, *self.kernel_arguments(x, output_size))
        y = y if computed_size == output_size else y[:, :, : output_size[0]].contiguous(memory_format=memory_format(x))
        return y, UpsampleCache(x)

    def backward(self, params: Params, cache: UpsampleCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = Rᵀ dy C, where R and C are the weights of y = R x Cᵀ, which resizes rows and columns."""
        height, width = cache.x.shape[2:]
        rows, columns = self._weights(height, 0, dy), self._weights(width, 1, dy)  # (H', H), (W', W)
        dx = rows.t() @ dy.to(rows.dtype) @ columns  # (N, C, H, W)
        return dx.to(dy.dtype, memory_format=memory_format(dy)), {}

    def _weights(self, length: int, axis: int, like: Tensor) -> Tensor:
        """Return the weight of each of `length` rows in each row of the output: (output rows, length).

        Column j is the output for an image of one column that is 1 in row j, else 0.
        """
        if self.size is None:
            resize = replace(self, scale=(self._scales()[axis], 1))
        else:
            resize = replace(self, size=(pair(self.size)[axis], 1))
        images = torch.eye(length, dtype=sum_dtype(like.dtype), device=like.device)[:, None, :, None]
        y, _ = resize.forward({}, images, Mode())  # (length, 1, output rows, 1)
        return y[:, 0, :, 0].t()

    def _resize_antialiased(self, x: Tensor, output_size: tuple[int, int]) -> Tensor:
        """Resize with PyTorch's kernel; an output of one column is computed transposed.

        For one column, PyTorch's CPU kernel would repeat the first row.
        """
        kernel = ANTIALIASED_KERNELS[self.kind]
        height, width = output_size
        align_corners, *scales = self.kernel_arguments(x, output_size)
        if width > 1:
            return kernel(at_least_float32(x), output_size, align_corners, *scales).to(x.dtype)
        return kernel(at_least_float32(x).mT, (width, height), align_corners, *reversed(scales)).mT.to(x.dtype)

    def kernel_arguments(self, x: Tensor, output_size: tuple[int, int]) -> tuple[Any, ...]:
        """Return the kernels' last arguments: align_corners, and the scales if the sizes do not imply them.

        The scale is None for an axis that is only copied: with `antialias`, the forward kernel would ignore the scale,
        but the backward kernel would use it.
        """
        scales = (None, None) if self.scale is None else self._scales()
        if self.antialias or self.kind in COPYING_KINDS:
            axes = zip(scales, output_size, x.shape[2:], strict=True)
            scales = tuple(None if new == old else scale for scale, new, old in axes)
        return (self.align_corners, *scales) if self.kind in ALIGN_CORNERS_KINDS else scales

    def computed_size(self, x: Tensor, output_size: tuple[int, int]) -> tuple[int, int]:
        """Return `output_size`; if bicubic resizing keeps both sizes, with an extra row, which `forward` drops.

        Without the extra row, the CPU's backward kernel would only copy dy, although the forward kernel uses the scale.
        """
        keeps_both_sizes = (
            self.kind == "bicubic" and self.scale is not None and not self.align_corners and output_size == x.shape[2:]
        )
        return (output_size[0] + 1, output_size[1]) if keeps_both_sizes else output_size

    def _scales(self) -> tuple[Any, ...]:
        return self.scale if isinstance(self.scale, tuple) else (self.scale, self.scale)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of y for an image of this size."""
        if self.size is not None:
            return pair(self.size)
        vertical, horizontal = self._scales()
        return math.floor(height * vertical), math.floor(width * horizontal)


def at_least_float32(x: Tensor) -> Tensor:
    """Return x in at least float32, which the antialiasing kernels require."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
