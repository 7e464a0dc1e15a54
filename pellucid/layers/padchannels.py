"""Padding with channels of zeros.

Fused form: FusedPadChannels (fuse/single_layers.py) in training.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait
from pellucid.layers.checks import check_image_shape


class PadChannelsCache(NamedTuple):
    """Cache of PadChannels: its input, (N, C, H, W)."""

    x: Tensor


@dataclass(frozen=True)
class PadChannels(Layer):
    """Add channels of zeros before and after the channels of an image.

    x is (N, C, H, W), y is (N, before + C + after, H, W). As the shortcut of a residual block whose body outputs more
    channels than its input has, it needs no parameters, unlike a projection.
    Source: He, Zhang, Ren and Sun 2016, section 3.3, option A.
    """

    traits: ClassVar[Trait] = Trait.LINEAR

    before: int
    after: int

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        if not all(type(count) is int and count >= 0 for count in (self.before, self.after)):
            raise PellucidError(
                f"PadChannels: before and after must be whole numbers of at least 0, not {self.before!r} and "
                f"{self.after!r}"
            )

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the shape with the added channels."""
        channels, height, width = check_image_shape(self, shape)
        return {}, (self.before + channels + self.after, height, width)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, PadChannelsCache]:
        """Compute y = x with the channels of zeros added."""
        y = F.pad(x, (0, 0, 0, 0, self.before, self.after))
        return y, PadChannelsCache(x)  # relevance rules need x, backward does not

    def backward(self, params: Params, cache: PadChannelsCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the part of dy for the channels of x."""
        return F.pad(dy, (0, 0, 0, 0, -self.before, -self.after)), {}
