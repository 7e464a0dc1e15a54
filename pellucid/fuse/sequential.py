"""A row of layers some of which replace several."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pellucid.combine.base import Back, Combinator, Step
from pellucid.layers.base import Cache, Layer, Mode, Params


@dataclass(frozen=True)
class FusedSequential(Combinator):
    """Replace a Sequential; the children in `groups` take all its params and return gradients for several names."""

    children: dict[str, Layer]
    groups: frozenset[str]

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The children by name, a group by the name of its first layer."""
        return self.children

    def rebuild(self, layers: Mapping[str, Layer]) -> "FusedSequential":
        """Return the same row of other layers."""
        return FusedSequential(dict(layers), self.groups)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise the layers in order."""
        params: Params = {}
        for name, child in self.children.items():
            drawn, shape = child.init(shape, rng)
            params |= drawn if name in self.groups else {name: drawn}
        return params, shape

    def flow(self, params: Params, x: Any, mode: Mode, step: Step) -> tuple[Any, Cache]:
        """Run the layers in order."""
        cache = {}
        for name, child in self.children.items():
            x, kept = step(name, child, params if name in self.groups else params[name], x, mode)
            if mode.keep:
                cache[name] = kept
        return x, cache

    def sweep(self, params: Params, cache: Cache, dy: Any, back: Back) -> tuple[Any, Params]:
        """Propagate back through the layers in reverse order."""
        dparams: Params = {}
        for name, child in reversed(self.children.items()):
            grouped = name in self.groups
            dy, part = back(name, child, params if grouped else params[name], cache.pop(name), dy)
            if grouped:
                dparams |= part
            else:
                dparams[name] = part
        return dy, dparams
