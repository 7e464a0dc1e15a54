"""One layer applied to several inputs.

Fused form: ConvertedCombinator (fuse/inference/runs.py) in prediction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch

from pellucid.base.errors import PellucidError
from pellucid.combine.base import Back, Combinator, LayerRun, add_up_tree, init_child
from pellucid.layers.base import Cache, Layer, Mode, Params


@dataclass(frozen=True, repr=False)
class Shared(Combinator):
    """Apply one layer, with the same parameters, to each input in a tuple; the parameters' gradients are summed.

    x and y are tuples of equal length. `Shared(head)` is a detector's head applied to every level of a feature pyramid
    (Lin et al. 2017, section 4); `Shared(arm)` is the two arms of a siamese network (Bromley et al. 1993).
    """

    layer: Layer

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The shared layer, under the name "layer"."""
        return {"layer": self.layer}

    def rebuild(self, layers: Mapping[str, Layer]) -> "Shared":
        """Return a Shared of `layers["layer"]`."""
        return self.with_fields(layer=layers["layer"])

    def init(self, shape: tuple[Any, ...], rng: torch.Generator) -> tuple[Params, tuple[Any, ...]]:
        """Initialize the layer for the first input shape; return the parameters and the tuple of output shapes.

        Raises PellucidError if another input shape needs parameters of other shapes.
        """
        if not shape or not all(isinstance(item, tuple) for item in shape):
            raise PellucidError(f"Shared takes a tuple of inputs, not one of shape {shape}; feed it from a Fork")
        params, first_out = init_child("layer", self.layer, shape[0], rng)
        outs = [first_out]
        for other_shape in shape[1:]:
            other_params, out = init_child("layer", self.layer, other_shape, torch.Generator())
            if _param_shapes(other_params) != _param_shapes(params):
                raise PellucidError(
                    f"Shared: inputs of shapes {shape[0]} and {other_shape} would need different parameters; "
                    "give them the same number of channels"
                )
            outs.append(out)
        return {"layer": params}, tuple(outs)

    def flow(self, params: Params, x: tuple[Any, ...], mode: Mode, step: LayerRun) -> tuple[tuple[Any, ...], Cache]:
        """Run the layer on each input; the cache is a dict by the index of the input."""
        cache: dict[str, Cache] = {}
        ys: list[Any] = []
        for index, item in enumerate(x):
            y, child_cache = step("layer", self.layer, params["layer"], item, mode)
            ys.append(y)
            cache[str(index)] = child_cache if mode.keep else None
        return tuple(ys), cache

    def sweep(self, params: Params, cache: Cache, dy: tuple[Any, ...], back: Back) -> tuple[Any, Params]:
        """Propagate back through the layer once for each input, and sum the gradients of its parameters."""
        dxs: list[Any] = []
        total: Params = {}
        for index in reversed(range(len(dy))):
            dx, dparams = back("layer", self.layer, params["layer"], cache.pop(str(index)), dy[index])
            total = add_up_tree(total, dparams)
            dxs.append(dx)
        return tuple(reversed(dxs)), {"layer": total}


def _param_shapes(params: Params) -> dict[str, Any]:
    return {
        name: _param_shapes(cast(Params, value)) if isinstance(value, dict) else value.shape
        for name, value in params.items()
    }
