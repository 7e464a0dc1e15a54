"""Layers in sequence.

Fused forms: FusedSequential (fuse/combinators.py) in training; RunSequence (fuse/inference/runs.py) in prediction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.combine.base import Back, Combinator, LayerRun, check_layer, init_child, name_children
from pellucid.layers.base import Cache, Layer, Mode, Params


@dataclass(frozen=True, init=False, repr=False)
class Sequential(Combinator):
    """Apply each layer to the output of the previous layer: `Sequential(conv1=Conv2d(20, 5), act1=ReLU())`.

    Layers without names, as in `Sequential([Conv2d(20, 5), ReLU()])` or `Sequential(Conv2d(20, 5), ReLU())`, are named
    by type and count: conv2d1, relu1, conv2d2. Weights are saved under these names.
    """

    children: dict[str, Layer]

    def __init__(self, /, *unnamed: Layer | Sequence[Layer], **named: Layer) -> None:
        if len(unnamed) == 1 and isinstance(unnamed[0], list | tuple):
            unnamed = tuple(unnamed[0])
        object.__setattr__(self, "children", name_children("Sequential", unnamed, named))

    def add(self, layer: Layer) -> None:
        """Append a layer, named by type and count, as in Keras; only before weights are drawn for the network.

        This is the only method that changes a layer in place. Raises PellucidError for a value that is not a layer, and
        after `init`, because the new layer would have no weights.
        """
        # in place, since Keras users write it as a statement: a returned copy would be lost without a warning
        if vars(self).get("_drawn"):
            raise PellucidError(
                "Sequential.add: weights have been drawn for this network; build a new one, "
                "Sequential(**net.layers, name=layer)"
            )
        check_layer(layer, "Sequential.add: the layer")
        kind = type(layer).__name__.lower()
        count = 1
        while f"{kind}{count}" in self.children:
            count += 1
        self.children[f"{kind}{count}"] = layer

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The children by name."""
        return self.children

    def rebuild(self, layers: Mapping[str, Layer]) -> "Sequential":
        """Return a Sequential of `layers`."""
        return self.with_fields(children=dict(layers))

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize the layers in order, each for the output shape of the previous one."""
        object.__setattr__(self, "_drawn", True)  # see `add`
        params: Params = {}
        for name, child in self.children.items():
            params[name], shape = init_child(name, child, shape, rng)
        return params, shape

    def flow(self, params: Params, x: Any, mode: Mode, step: LayerRun) -> tuple[Any, Cache]:
        """Run the layers in order."""
        cache: dict[str, Cache] = {}
        for name, child in self.children.items():
            x, child_cache = step(name, child, params[name], x, mode)
            if mode.keep:
                cache[name] = child_cache
        return x, cache

    def sweep(self, params: Params, cache: Cache, dy: Any, back: Back) -> tuple[Any, Params]:
        """Propagate back through the layers in reverse order."""
        dparams: Params = {}
        for name, child in reversed(self.children.items()):
            dy, dparams[name] = back(name, child, params[name], cache.pop(name), dy)
        return dy, dparams
