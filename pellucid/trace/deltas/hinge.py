"""The factors of the hinge loss's gradient."""

import torch
from torch import Tensor

from pellucid.losses import Hinge
from pellucid.losses.base import Loss, shares
from pellucid.losses.targets import pick
from pellucid.trace.deltas.base import Pieces, number, plain, share
from pellucid.trace.explanation import Factor


def hinge(loss: Loss, y: Tensor, target: Tensor) -> Pieces:
    """Return the terms: classes within the margin have positive gradients, the true class minus their sum."""
    assert isinstance(loss, Hinge)
    n = shares(loss.reduction, y)
    index, _, weight = pick(loss, y, target, loss.class_weights)  # (N, 1)
    short = (y - y.gather(1, index) + loss.margin).clamp_min(0).scatter(1, index, 0)  # (N, C)
    push = torch.where(short > 0, torch.ones_like(short) if loss.power == 1 else 2 * short, 0)

    def factors(place: int) -> tuple[Factor, ...]:
        row, column = divmod(place, y.shape[1])
        counted = () if loss.class_weights is None else (plain("class weight", number(weight, row), "weight"),)
        if column != int(index[row]):
            name = "[too close]" if loss.power == 1 else "2 (margin - y_t + y_j)"
            return (plain(name, number(push, place), "error"), *counted, *share(n))
        parts = tuple(
            Factor(f"-push of class {other}", -float(push[row, other]), "error")
            for other in range(y.shape[1])
            if other != column and float(push[row, other])
        )
        whole = Factor("-Σ of the pushes", -float(push[row].double().sum()), "error", parts)
        return (whole, *counted, *share(n))

    cost = (short if loss.power == 1 else short * short) * weight / n
    words = "the margin loss: every class within the margin of the right one is pushed away, the right one by them all"
    formula = r"\frac{\partial C}{\partial y_j} = \frac{[y_j > y_t - m]}{n},\quad"
    formula += r"\frac{\partial C}{\partial y_t} = -\sum_j \frac{\partial C}{\partial y_j}"
    return Pieces({"shortfall": short}, cost, factors, words, formula)
