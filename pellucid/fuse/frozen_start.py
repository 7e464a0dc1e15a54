"""The frozen layers that a network begins with: nothing goes back through them."""

from dataclasses import dataclass, field
from typing import Any

import torch

from pellucid.fuse.entrance import NoCache
from pellucid.fuse.inference.plan import inference
from pellucid.fuse.inference.run import Run
from pellucid.layers.base import Layer, Mode, Params, Shape


@dataclass
class Ready:
    """What was made of which parameters."""

    params: Params | None = None
    run: Run | None = None


@dataclass(frozen=True)
class FrozenStart(Layer):
    """Stand for frozen layers before the first one that learns: they run as in prediction, and keep nothing.

    What prediction needs is made of the parameters at the first pass and used as long as they are the same dict:
    frozen values stay as they are.
    """

    layer: Layer
    ready: Ready = field(default_factory=Ready, repr=False, compare=False)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise the layers."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, NoCache]:
        """Run the layers."""
        if self.ready.run is None or self.ready.params is not params:
            self.ready.params, self.ready.run = params, inference(self.layer, params)
        return self.ready.run(x), NoCache()

    def backward(self, params: Params, cache: NoCache, dy: Any) -> tuple[None, Params]:
        """Return no gradient."""
        return None, {}
