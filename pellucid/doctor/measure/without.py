"""What a network answers when some units of one layer say the same for every example."""

from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import Combinator, join
from pellucid.doctor.measure.room import parts
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.train.model import Model


def without(model: Model, x: Tensor, at: str, units: Tensor, value: Tensor) -> Any:
    """Run inputs forward in evaluation mode, with `units` (K,) of the layer at a path putting out `value` (K,)."""

    def visit(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        if isinstance(layer, Combinator):
            return layer.flow(params, x, mode, lambda name, *rest: visit(join(path, name), *rest))
        y, cache = layer.forward(params, x, mode)
        if path == at:
            y = y.clone()
            y[:, units] = value.reshape(-1, *[1] * (y.dim() - 2))
        return y, cache

    with torch.inference_mode():
        said = [visit("", model.net, model.params, part, Mode(keep=False))[0] for part in parts(model, x)]
        return torch.cat(said) if isinstance(said[0], Tensor) else said[0]
