"""Layers in a training step: their random draws, gradient norms and relative update sizes."""
# vector_norm has no type annotations.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.config import is_ours
from pellucid.data.seeds import mix
from pellucid.data.source import Batch
from pellucid.layers import Dropout
from pellucid.layers.base import Layer, Mode, Params
from pellucid.objective import Objective, merged
from pellucid.run.history import Row
from pellucid.tree import flatten

DROPOUT = 0xD0  # part of the seeds of dropout, which makes them differ from all others


def draws(rng: torch.Generator, seed: int, step: int) -> torch.Generator:
    """Seed `rng` for the step with this number, from 0, and return it: a resumed step draws the same numbers."""
    return rng.manual_seed(mix(seed, DROPOUT, step))


def may_draw(layer: Layer) -> bool:
    """Return whether a layer may draw in training mode: Dropout, and every user-defined layer."""
    return isinstance(layer, Dropout) or not is_ours(layer)


def layer_rows(
    objective: Objective, before: Params, batch: Batch, mode: Mode, params: Params
) -> Callable[[], list[Row]]:
    """Measure the gradients at the weights `before`, a copy of `params`, whose running statistics change.

    objective: in its form for training. Returns a function to call when `params` have made their step: it gives for
    each learned tensor path, grad_norm = ‖g‖ and update_ratio = rms(Δw) / rms(w), None where that is not finite.
    Regularizers and clipping are not part of the gradient's norm; of several turns, each is measured at `before`.
    """
    swept = flatten(merged(objective.gradients(before, batch, mode))[1])
    norms = {path: _norm(swept[path]) for path in flatten(before) if path in swept}

    def after() -> list[Row]:
        old, new = flatten(before), flatten(params)
        return [
            {
                "path": path,
                "grad_norm": _finite(norm),
                "update_ratio": _ratio(_norm(new[path] - old[path]), _norm(old[path])),
            }
            for path, norm in norms.items()
        ]

    return after


def _norm(x: Tensor) -> float:
    """Return ‖x‖, summed in float64: squares of large gradients overflow float32."""
    return float(torch.linalg.vector_norm(x, dtype=torch.float64))


def _ratio(update: float, weight: float) -> float | None:
    """Return the quotient of two norms, which is that of the root mean squares; None for weights of 0."""
    return _finite(update / weight) if weight else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
