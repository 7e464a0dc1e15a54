"""The first layers of a network: the gradient with respect to the data is not needed."""

from dataclasses import dataclass
from typing import Any

import torch

from pellucid.fuse.nocache import NoCache
from pellucid.layers.base import Layer, Mode, Params, Shape


@dataclass(frozen=True)
class EntranceLayer(Layer):
    """Replace a layer that learns nothing before the first one that learns: it needs no backward pass."""

    layer: Layer

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise the layer."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, NoCache]:
        """Run the layer and keep nothing."""
        return self.layer.forward(params, x, Mode(mode.train, mode.rng, keep=False))[0], NoCache()

    def backward(self, params: Params, cache: NoCache, dy: Any) -> tuple[None, Params]:
        """Return no gradient."""
        return None, {}
