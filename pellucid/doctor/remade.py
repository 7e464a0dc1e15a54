"""A model made again, as it was before its first step or with other settings."""

from copy import copy
from typing import Any

import torch

from pellucid.train.model import Model
from pellucid.tree import map_tree


def remade(model: Model, **changes: Any) -> Model:
    """Return a model of the same settings, but for `changes` (arguments of Model), with weights drawn anew."""
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
    new = Model(**settings)
    if "net" not in changes:
        new.frozen, new.rates = set(model.frozen), dict(model.rates)
    return new


def copied(model: Model) -> Model:
    """Return the model with weights of its own, which may change."""
    new = copy(model)
    new.params = map_tree(torch.clone, model.params)
    return new
