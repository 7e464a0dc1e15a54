"""Cropping an image to the size of another image."""
# Callers may not check argument types.
# pyright: reportUnnecessaryIsInstance=false

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait, expanded_zeros


class CropCache(NamedTuple):
    """Cache of Crop: its two inputs."""

    xs: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Crop(Layer):
    """Crop the first input to the height and width of the second, from the top left corner.

    The input is a tuple (x, reference), x (N, C, H, W), reference (N, C', H', W') with H' <= H and W' <= W; y is
    (N, C, H', W'). Only the size of the reference is used, so its gradient is zero.
    Source: Long, Shelhamer and Darrell 2015, section 4.1 (the crop layers of their public networks).
    """

    traits: ClassVar[Trait] = Trait.LINEAR | Trait.MULTIPLE_INPUTS

    def init(self, shape: tuple[Shape, ...], rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the cropped shape."""
        if len(shape) != 2 or not all(isinstance(image, tuple) and len(image) == 3 for image in shape):
            raise PellucidError(f"Crop takes two images (C, H, W), the second only for its size, not {shape}")
        (channels, *size), (_, *target_size) = shape
        if any(new > old for new, old in zip(target_size, size, strict=True)):
            raise PellucidError(
                f"Crop: an image of {size[0]}x{size[1]} cannot be cropped to {target_size[0]}x{target_size[1]}"
            )
        return {}, (channels, *target_size)

    def forward(self, params: Params, x: tuple[Tensor, Tensor], mode: Mode) -> tuple[Tensor, CropCache]:
        """Return the first H' rows and W' columns of x."""
        image, reference = x
        height, width = reference.shape[2:]
        return image[:, :, :height, :width], CropCache(x)

    def backward(self, params: Params, cache: CropCache, dy: Tensor) -> tuple[tuple[Tensor, Tensor], Params]:
        """Compute dx = dy in the cropped area and 0 outside; the gradient of the reference is 0."""
        image, reference = cache.xs
        bottom, right = (old - new for old, new in zip(image.shape[2:], dy.shape[2:], strict=True))
        return (F.pad(dy, (0, right, 0, bottom)), expanded_zeros(reference)), {}
