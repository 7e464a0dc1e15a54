"""The layers of a network that learn a weight matrix or windows, and those that its answer comes from."""

from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import Combinator, join, walk
from pellucid.layers.base import Cache, Layer, Mode
from pellucid.sweep import forward
from pellucid.training.model import BaseModel


def learners(model: BaseModel) -> list[tuple[str, str]]:
    """Return (path of the layer, path of its weight) of every layer with a weight that is not frozen, in order."""
    found: list[tuple[str, str]] = []
    for path, layer in walk(model.net):
        if not isinstance(layer, Combinator) and "weight" in layer.decayed:
            weight = join(path, "weight")
            if weight not in model.frozen:
                found.append((path, weight))
    return found


def finals(model: BaseModel, x: Tensor) -> set[str]:
    """Return the paths of the layers whose output is an answer of the network, and the last layer that learns."""
    given: dict[int, str] = {}
    kept: list[Any] = []  # so that no identity is used twice

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        if not isinstance(layer, Combinator):
            kept.append(y)
            given[id(y)] = path

    with torch.inference_mode():
        y, _ = forward(model.net, model.params, x[:2], Mode(), watch)
    answers = y if isinstance(y, tuple) else (y,)
    found = {given[id(one)] for one in answers if id(one) in given}
    return found | {path for path, _ in learners(model)[-1:]}
