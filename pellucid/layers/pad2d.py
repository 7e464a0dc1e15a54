"""Padding around an image.

Fused forms: KernelForm (fuse/kernel_form.py) in training.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_choice
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait, memory_format
from pellucid.layers.checks import check_image_shape

TORCH_MODES = {  # for each `kind`, the mode of torch.nn.functional.pad
    "zero": "constant",
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}


class Pad2dCache(NamedTuple):
    """Cache of Pad2d: its input, (N, C, H, W)."""

    x: Tensor


@dataclass(frozen=True)
class Pad2d(Layer):
    """Pad an image with a constant, its reflection, its edge pixels, or the pixels of the opposite edge.

    x is (N, C, H, W), y is (N, C, H + top + bottom, W + left + right). `padding` is (left, right, top, bottom), or one
    number for all sides; negative padding crops. `kind`: "zero" pads with zeros, "constant" with `value`. "reflect"
    mirrors about the edge pixel, which is not repeated, so the padding must be smaller than the image. "replicate"
    repeats the edge pixel. "circular" wraps around to the opposite edge of the cropped image, at most once.
    """

    traits: ClassVar[Trait] = Trait.LINEAR

    padding: int | tuple[int, int, int, int]
    kind: str = "zero"
    value: float = 0.0

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_choice(self, tuple(TORCH_MODES), kind=self.kind)
        if isinstance(self.padding, tuple) and len(self.padding) != 4:
            raise PellucidError(f"Pad2d: padding must be (left, right, top, bottom) or one number, not {self.padding}")
        check(all(type(size) is int for size in self.edges()), "Pad2d: padding", "whole numbers", self.padding)
        if type(self.value) not in (int, float) or not math.isfinite(self.value):
            raise PellucidError(f"Pad2d: value must be a finite number, not {self.value!r}")
        if self.value and self.kind != "constant":
            raise PellucidError(f"Pad2d: value={self.value} has an effect only for kind='constant'; leave it out")

    def edges(self) -> tuple[int, int, int, int]:
        """Return the number of columns or rows added on each side: (left, right, top, bottom)."""
        if isinstance(self.padding, tuple):
            return self.padding
        return self.padding, self.padding, self.padding, self.padding

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the padded shape."""
        channels, height, width = check_image_shape(self, shape)
        left, right, top, bottom = self.edges()
        output_size = height + top + bottom, width + left + right
        cropped_size = height + min(top, 0) + min(bottom, 0), width + min(left, 0) + min(right, 0)
        if min(output_size) < 1 or min(cropped_size) < 0:
            raise PellucidError(f"Pad2d: padding={self.padding} crops all of an image of {height}x{width}; crop less")
        if self.kind == "reflect" and (max(left, right) >= width or max(top, bottom) >= height):
            raise PellucidError(
                f"Pad2d: with kind='reflect', padding={self.padding} must be smaller than the image, {height}x{width}; "
                "use less padding, or kind='replicate'"
            )
        if self.kind == "circular" and (max(top, bottom) > cropped_size[0] or max(left, right) > cropped_size[1]):
            raise PellucidError(
                f"Pad2d: padding={self.padding} wraps around an image of {height}x{width} more than once; use less"
            )
        return {}, (channels, *output_size)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Pad2dCache]:
        """Compute y = x with the rows and columns added."""
        if TORCH_MODES[self.kind] == "constant":
            return F.pad(x, self.edges(), value=self.value), Pad2dCache(x)
        y = F.pad(x, self.edges(), TORCH_MODES[self.kind])
        return y.contiguous(memory_format=memory_format(x)), Pad2dCache(x)

    def backward(self, params: Params, cache: Pad2dCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx[i] = the sum of dy over the output pixels that copy pixel i; for constants, dy is cropped."""
        left, right, top, bottom = self.edges()
        if TORCH_MODES[self.kind] == "constant":
            return F.pad(dy, (-left, -right, -top, -bottom)), {}
        height, width = cache.x.shape[2:]
        dx = self._axis_gradient(dy, 2, height, top, bottom)
        return self._axis_gradient(dx, 3, width, left, right), {}

    def _axis_gradient(self, dy: Tensor, axis: int, size: int, n_before: int, n_after: int) -> Tensor:
        """Return the gradient of padding along one axis, with respect to images of `size` along it."""
        first, end = max(-n_before, 0), size - max(-n_after, 0)  # the part of x that is not cropped
        n_before, n_after = max(n_before, 0), max(n_after, 0)
        before = dy.narrow(axis, 0, n_before)
        middle = dy.narrow(axis, n_before, end - first)
        after = dy.narrow(axis, n_before + end - first, n_after)
        crop = [0, 0] * (3 - axis) + [first, size - end]
        dx = F.pad(middle, crop) if any(crop) else middle.clone()
        if self.kind == "circular":
            dx.narrow(axis, end - n_before, n_before).add_(before)
            dx.narrow(axis, first, n_after).add_(after)
        elif self.kind == "reflect":
            dx.narrow(axis, 1, n_before).add_(before.flip(axis))
            dx.narrow(axis, size - 1 - n_after, n_after).add_(after.flip(axis))
        else:
            dx.narrow(axis, 0, 1).add_(before.sum(axis, True))
            dx.narrow(axis, size - 1, 1).add_(after.sum(axis, True))
        return dx
