"""Multiply-adds of a prediction for one example, with which the doctor limits its training runs."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import join
from pellucid.layers import LAYERS
from pellucid.layers.base import Cache, Layer, Params, Trait, declares
from pellucid.nested import flatten, leaves
from pellucid.network.summary import SummaryRow, multiply_adds, summary
from pellucid.objective import Objective, Supervised

BUILT_IN_NAMES = {layer.__name__ for layer in LAYERS}


def network_work(net: Layer, params: Params, shape: Sequence[int]) -> float:
    """Return the multiply-adds of a network's forward pass for one input of this shape.

    Each output value counts as one more multiply-add, so layers without weights count too. A user-defined layer counts
    as if it used each of its parameters at each position of its output.
    """
    return float(sum(_layer_work(row) for row in summary(net, params, tuple(shape)).rows))


def objective_work(objective: Objective, params: Params, shape: Sequence[int]) -> float:
    """Return the multiply-adds of an objective's prediction for one input, counted as by `network_work`."""
    if isinstance(objective, Supervised):
        return network_work(objective.net, params, shape)
    leaf_by_path = flatten(params)
    total = 0

    def add_work(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        nonlocal total
        if isinstance(y, Tensor):
            weight = leaf_by_path.get(join(path, "weight"))
            is_elsewhere = weight is None and declares(layer, Trait.WEIGHTED)  # the objective stores the weight
            own_params = {} if weight is None else {"weight": weight}
            total += y.numel() + (0 if is_elsewhere else multiply_adds(layer, own_params, x, y))

    leaf = next(iter(leaves(params)), torch.empty(0))
    with torch.inference_mode():
        objective.watched(add_work).predict(params, torch.zeros(1, *shape, device=leaf.device, dtype=leaf.dtype))
    return float(total)


def _layer_work(row: SummaryRow) -> int:
    shapes = row.shape if row.shape and isinstance(row.shape[0], tuple) else (row.shape,)
    n_positions = 0 if row.layer.partition("(")[0] in BUILT_IN_NAMES else sum(prod(shape[1:]) for shape in shapes)
    return (row.multiply_adds or row.uses * row.parameters * n_positions) + row.uses * sum(map(prod, shapes))
