"""Rows and columns around an image."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import PellucidError
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.layers.checks import choice, image_shape, not_negative

KINDS = {"zero": "constant", "reflect": "reflect", "replicate": "replicate"}


class Pad2dCache(NamedTuple):
    """What Pad2d keeps: its input, (N, C, H, W)."""

    x: Tensor


@dataclass(frozen=True)
class Pad2d(Layer):
    """Put rows and columns around an image: zeros, its mirror image, or its edge again.

    x is (N, C, H, W), y is (N, C, H + top + bottom, W + left + right); `padding` is (left, right, top, bottom) or
    one number for all. "reflect" mirrors about the edge pixel, which is not repeated, so that the padding must be
    smaller than the image; "replicate" repeats the edge pixel.
    """

    padding: int | tuple[int, int, int, int]
    kind: str = "zero"

    def __post_init__(self) -> None:
        """Raise PellucidError for a hyperparameter that means nothing."""
        choice(self, tuple(KINDS), kind=self.kind)
        if isinstance(self.padding, tuple) and len(self.padding) != 4:
            raise PellucidError(f"Pad2d: padding must be (left, right, top, bottom) or one number, not {self.padding}")
        for size in self.edges():
            not_negative(self, padding=size)

    def edges(self) -> tuple[int, int, int, int]:
        """Return how many columns and rows are put (left, right, top, bottom)."""
        if isinstance(self.padding, tuple):
            return self.padding
        return self.padding, self.padding, self.padding, self.padding

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the larger shape."""
        channels, height, width = image_shape(self, shape)
        left, right, top, bottom = self.edges()
        if self.kind == "reflect" and (max(left, right) >= width or max(top, bottom) >= height):
            raise PellucidError(
                f"Pad2d: an image of {height}x{width} has no mirror image as wide as padding={self.padding}; "
                "use less padding, or kind='replicate'"
            )
        return {}, (channels, height + top + bottom, width + left + right)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Pad2dCache]:
        """Put the rows and columns."""
        return F.pad(x, self.edges(), KINDS[self.kind]), Pad2dCache(x)

    def backward(self, params: Params, cache: Pad2dCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx[i] = the sum of dy over the places that show pixel i; for zeros, the inside of dy."""
        left, right, top, bottom = self.edges()
        height, width = cache.x.shape[2:]
        if self.kind == "zero":
            return dy[:, :, top : top + height, left : left + width], {}
        aten = torch.ops.aten
        kernel = aten.reflection_pad2d_backward if self.kind == "reflect" else aten.replication_pad2d_backward
        return kernel(dy, cache.x, (left, right, top, bottom)), {}
