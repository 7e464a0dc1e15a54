"""The gradients of one batch: of what each layer puts out, and of what it learns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import Combinator
from pellucid.doctor.measure.room import room
from pellucid.layers.base import Layer, Mode, Params
from pellucid.sweep import backward, forward
from pellucid.training.model import BaseModel
from pellucid.tree import flatten, map_tree


@dataclass(frozen=True, eq=False)
class Flow:
    """One pass forward and backward in training mode.

    loss: of the batch. dy: root mean square of the loss's gradient by what each layer puts out, by path, the last layer
    first. gradients: by what is learned, (path of the tensor), as tensors.
    """

    loss: float
    dy: Mapping[str, float]
    gradients: Mapping[str, Tensor]


def flow(model: BaseModel, x: Tensor, target: Tensor) -> Flow:
    """Run a batch, or as much of it as there is room for, forward and backward; the model stays as it is."""
    dys: dict[str, float] = {}

    def watch(path: str, layer: Layer, dy: Any, dx: Any, dparams: Params) -> None:
        if not isinstance(layer, Combinator) and isinstance(dy, Tensor):
            dys[path] = rms(dy)

    most = room(model, x)
    x, target = x[:most], target[:most]
    with torch.inference_mode():
        params = map_tree(torch.clone, model.params)
        y, cache = forward(model.net, params, x, Mode(True, torch.Generator().manual_seed(model.seed)))
        value, dy = model.loss(y, target)
        _, dparams = backward(model.net, params, cache, dy, watch=watch)
    return Flow(value.item(), dys, flatten(dparams))


def rms(x: Tensor) -> float:
    """Return the root mean square of all values, summed in float64."""
    return torch.linalg.vector_norm(x, dtype=torch.float64).item() / max(x.numel(), 1) ** 0.5
