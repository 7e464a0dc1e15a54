"""Terms that regularizers add to a weight's derivative."""

import torch

from pellucid.optim import Regularizer
from pellucid.optim.regularizers import L1, L2
from pellucid.trace.explanation import Factor
from pellucid.trace.record import Trace
from pellucid.tree import flatten


def penalties(trace: Trace, path: str, place: int) -> list[Factor]:
    """Return each regularizer's part of the derivative by one weight; none for parameters that are not regularized."""
    if path not in trace.penalties:
        return []
    weight = flatten(trace.settings.params)[path].flatten()[place : place + 1]
    return [_penalty(penalty, weight, trace.settings.examples) for penalty in trace.settings.penalties]


def _penalty(penalty: Regularizer, weight: torch.Tensor, n: int) -> Factor:
    grad = torch.zeros_like(weight)
    penalty.add_gradient([weight], [grad], n)
    names = {L2: "λ/n w", L1: "λ/n sign(w)"}
    return Factor(f"{names.get(type(penalty), 'penalty')} of {penalty!r}, n = {n}", float(grad), "penalty")
