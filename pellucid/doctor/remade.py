"""A model made again, as it was before its first step or with other settings."""

from copy import copy
from typing import Any

import torch

from pellucid.combine.base import buffer_paths
from pellucid.training.model import BaseModel
from pellucid.tree import flatten, map_tree


def remade(model: BaseModel, **changes: Any) -> BaseModel:
    """Return a model of the same settings, but for `changes` (arguments of BaseModel), with weights drawn anew.

    What is frozen stays as it is: it learns nothing, so these are its values before the first step too. In another
    network that is so for what has the same path and shape there.
    """
    settings: dict[str, Any] = {
        "net": model.net,
        "loss": model.loss,
        "optimizer": model.optimizer,
        "metrics": model.metrics,
        "classes": model.classes,
        "seed": model.seed,
        "regularizer": model.regularizers,
        "schedule": model.schedule,
        "clip": model.clip,
        "precision": model.precision,
        "preprocess": model.preprocess,
        "input_shape": model.input_shape,
        **changes,
    }
    new = BaseModel(**settings)
    old, own = flatten(model.params), flatten(new.params)
    same = {path for path, value in own.items() if path in old and value.shape == old[path].shape}
    new.frozen, new.rates = model.frozen & same, {path: rate for path, rate in model.rates.items() if path in same}
    for path in still(model) & same:
        own[path].copy_(old[path])
    return new


def still(model: BaseModel) -> set[str]:
    """Return the paths of all that fitting leaves as it is: what is frozen, and the statistics of frozen layers."""
    found = set(model.frozen)
    flat = flatten(model.params)
    for path in buffer_paths(model.net):
        layer = path.rpartition(".")[0]
        learned = {other for other in flat if other.rpartition(".")[0] == layer} - buffer_paths(model.net)
        if learned and learned <= model.frozen:
            found.add(path)
    return found


def copied(model: BaseModel) -> BaseModel:
    """Return the model with weights of its own, which may change."""
    new = copy(model)
    new.params = map_tree(torch.clone, model.params)
    return new
