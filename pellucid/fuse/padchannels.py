"""PadChannels without its input, which only rules read."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.fuse.nocache import NoCache
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.layers.padchannels import PadChannels


@dataclass(frozen=True)
class FusedPadChannels(Layer):
    """Replace a PadChannels."""

    layer: PadChannels

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the shape with the further channels."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, NoCache]:
        """Put the zeros."""
        return self.layer.forward(params, x, mode)[0], NoCache()

    def backward(self, params: Params, cache: NoCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the part of dy that belongs to x's own channels."""
        return F.pad(dy, (0, 0, 0, 0, -self.layer.before, -self.layer.after)), {}
