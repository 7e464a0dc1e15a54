"""What a network answers when some units of one layer say the same for every example."""

from typing import Any

from torch import Tensor

from pellucid.doctor.measure.room import in_parts
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.sweep import run
from pellucid.training.model import BaseModel


def without(model: BaseModel, x: Tensor, at: str, units: Tensor, value: Tensor) -> Any:
    """Run inputs forward in evaluation mode, with `units` (K,) of the layer at a path putting out `value` (K,)."""

    def leaf(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        y, cache = layer.forward(params, x, mode)
        if path == at:
            y = y.clone()
            y[:, units] = value.reshape(-1, *[1] * (y.dim() - 2))
        return y, cache

    return in_parts(model, x, lambda part: run(model.net, model.params, part, Mode(keep=False), leaf)[0])
