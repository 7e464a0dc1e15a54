"""A network run as in evaluation, but with the batch's own statistics where it normalises by batches."""

from typing import Any

import torch
from torch import Tensor

from pellucid.doctor.measure.room import in_parts
from pellucid.layers import BatchNorm
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.sweep import run
from pellucid.training.model import BaseModel
from pellucid.tree import map_tree


def by_batch(model: BaseModel, x: Tensor) -> Any:
    """Return the outputs for inputs (N, ...) with every BatchNorm in training mode; the model stays as it is."""

    def leaf(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        return layer.forward(params, x, Mode(isinstance(layer, BatchNorm), keep=False))

    params = map_tree(torch.clone, model.params)
    return in_parts(model, x, lambda part: run(model.net, params, part, Mode(keep=False), leaf)[0])
