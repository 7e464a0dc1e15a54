"""Layers in a training step: their random draws, gradient norms and relative update sizes."""
# vector_norm has no type annotations.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.data.seeds import mix
from pellucid.data.source import Batch
from pellucid.extend.registry import is_ours
from pellucid.layers import Dropout
from pellucid.layers.base import Layer, Mode, Params
from pellucid.nested import flatten
from pellucid.objective import Objective, merge_turns
from pellucid.operators import Attention
from pellucid.run.history import Row

DRAW_SEED = 0xD0  # part of the seeds for random draws of layers, so that these differ from all other seeds


def seed_step(rng: torch.Generator, seed: int, step: int) -> torch.Generator:
    """Seed `rng` for a step, numbered from 0, and return it, so that a resumed training draws the same numbers."""
    return rng.manual_seed(mix(seed, DRAW_SEED, step))


def may_draw(layer: Layer) -> bool:
    """Return whether a layer may draw random numbers in training mode, by dropout or as a user-defined layer."""
    return isinstance(layer, Dropout) or (isinstance(layer, Attention) and layer.rate > 0) or not is_ours(layer)


def layer_rows(
    objective: Objective, params_before: Params, batch: Batch, mode: Mode, params: Params
) -> Callable[[], list[Row]]:
    """Measure the gradients of a batch before a step; return a function that measures the updates after it.

    objective: in its form for training. params_before: a copy of `params`, whose running statistics this pass changes.
    The function, called after the step has updated `params`, returns a row for each learned tensor with its path,
    grad_norm = ‖g‖ and update_ratio = rms(Δw) / rms(w), or None for values that are not finite. The gradients are those
    of the loss, without regularizers and clipping; if there are several turns, all are computed with `params_before`.
    """
    gradients = flatten(merge_turns(objective.gradients(params_before, batch, mode))[1])
    norms = {path: _norm(gradients[path]) for path in flatten(params_before) if path in gradients}

    def measure_updates() -> list[Row]:
        weights_before, weights_after = flatten(params_before), flatten(params)
        return [
            {
                "path": path,
                "grad_norm": _finite_or_none(norm),
                "update_ratio": _ratio(_norm(weights_after[path] - weights_before[path]), _norm(weights_before[path])),
            }
            for path, norm in norms.items()
        ]

    return measure_updates


def _norm(x: Tensor) -> float:
    """Return ‖x‖, summed in float64 because the squares of large gradients overflow float32."""
    return float(torch.linalg.vector_norm(x, dtype=torch.float64))


def _ratio(update: float, weight: float) -> float | None:
    """Return the quotient of two norms, which equals the quotient of the root mean squares; None if `weight` is 0."""
    return _finite_or_none(update / weight) if weight else None


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
