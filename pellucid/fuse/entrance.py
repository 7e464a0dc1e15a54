"""The first layers of a network: nobody asks for the gradient with respect to the data."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.layers.conv2d import Conv2d, Conv2dCache, convolution_backward


class NoCache(NamedTuple):
    """Nothing is kept."""


@dataclass(frozen=True)
class EntranceLayer(Layer):
    """Stand for a layer without parameters before the first one that has some: it needs no backward pass."""

    layer: Layer

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise the layer."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, NoCache]:
        """Run the layer and keep nothing."""
        return self.layer.forward(params, x, mode)[0], NoCache()

    def backward(self, params: Params, cache: NoCache, dy: Any) -> tuple[None, Params]:
        """Return no gradient."""
        return None, {}


@dataclass(frozen=True)
class EntranceConv2d(Layer):
    """Stand for the first Conv2d: dx, a third of its arithmetic, is not computed."""

    layer: Conv2d

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Initialise the layer."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Conv2dCache]:
        """Run the layer."""
        return self.layer.forward(params, x, mode)

    def backward(self, params: Params, cache: Conv2dCache, dy: Tensor) -> tuple[None, Params]:
        """Compute the gradients of weight and bias only."""
        return None, convolution_backward(self.layer, params, cache, dy, need_dx=False)[1]
