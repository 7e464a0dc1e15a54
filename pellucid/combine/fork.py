"""Several layers with the same input.

Fused form: ConvertedCombinator (fuse/inference/runs.py) in prediction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pellucid.combine.base import Back, Combinator, LayerRun, add_up, init_child, name_children
from pellucid.layers.base import Cache, Layer, Mode, Params


@dataclass(frozen=True, init=False, repr=False)
class Fork(Combinator):
    """Apply several layers (heads) to the same input; y is the tuple of their outputs, dx the sum of their gradients.

    `Fork(scores=Dense(21), boxes=Dense(84))` is the pair of heads of Girshick 2015 (Fast R-CNN, figure 1).
    """

    heads: dict[str, Layer]

    def __init__(self, /, *unnamed: Layer, **named: Layer) -> None:
        object.__setattr__(self, "heads", name_children("Fork", unnamed, named))

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The heads by name."""
        return self.heads

    def rebuild(self, layers: Mapping[str, Layer]) -> "Fork":
        """Return a Fork of `layers`."""
        return self.with_fields(heads=dict(layers))

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, tuple[Any, ...]]:
        """Initialize each head for the input shape; return the parameters and the tuple of output shapes."""
        params: Params = {}
        shapes: list[Any] = []
        for name, head in self.heads.items():
            params[name], out = init_child(name, head, shape, rng)
            shapes.append(out)
        return params, tuple(shapes)

    def flow(self, params: Params, x: Any, mode: Mode, step: LayerRun) -> tuple[tuple[Any, ...], Cache]:
        """Run every head on x."""
        cache: dict[str, Cache] = {}
        ys: list[Any] = []
        for name, head in self.heads.items():
            y, child_cache = step(name, head, params[name], x, mode)
            ys.append(y)
            if mode.keep:
                cache[name] = child_cache
        return tuple(ys), cache

    def sweep(self, params: Params, cache: Cache, dy: tuple[Any, ...], back: Back) -> tuple[Any, Params]:
        """Propagate back through every head, and sum the gradients with respect to x."""
        dparams: Params = {}
        dx = None
        for (name, head), head_dy in zip(reversed(self.heads.items()), reversed(dy), strict=True):
            head_dx, dparams[name] = back(name, head, params[name], cache.pop(name), head_dy)
            dx = add_up(dx, head_dx)
        return dx, dparams
