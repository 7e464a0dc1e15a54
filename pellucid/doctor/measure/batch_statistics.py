"""A network run as in evaluation, but with the batch's own statistics where it normalises by batches."""

from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import Combinator
from pellucid.doctor.measure.room import parts
from pellucid.layers import BatchNorm
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.train.model import Model
from pellucid.tree import map_tree


def by_batch(model: Model, x: Tensor) -> Any:
    """Return the outputs for inputs (N, ...) with every BatchNorm in training mode; the model stays as it is."""

    def visit(name: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        if isinstance(layer, Combinator):
            return layer.flow(params, x, mode, visit)
        return layer.forward(params, x, Mode(isinstance(layer, BatchNorm), keep=False))

    with torch.inference_mode():
        params = map_tree(torch.clone, model.params)
        said = [visit("", model.net, params, part, Mode(keep=False))[0] for part in parts(model, x)]
        return torch.cat(said) if isinstance(said[0], Tensor) else said[0]
