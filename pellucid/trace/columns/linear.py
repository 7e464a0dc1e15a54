"""Layers that only lay out, repeat or average: their own forward pass of a lone 1 shows where it goes."""

import torch

from pellucid.layers.base import Mode
from pellucid.trace.calls import Call
from pellucid.trace.columns.base import Column, Explainer, worked

FORMULA = r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o\, k_{oi}"


def linear(words: str) -> Explainer:
    """Return the explainer of a layer without parameters that is linear in its one input, but for a constant."""

    def explain(call: Call, what: str, place: int) -> Column:
        zeros = torch.zeros_like(call.x, memory_format=torch.contiguous_format)
        still = call.layer.forward(call.params, zeros, Mode())[0].flatten()
        alone = zeros.clone()
        alone.view(-1)[place] = 1
        moved = call.layer.forward(call.params, alone, Mode())[0].flatten() - still
        where = moved.nonzero().flatten()
        share = moved[where].double()
        factors = () if bool((share == 1).all()) else (worked(share, "share", "share"),)
        return Column(where, factors, words if len(where) else "no output reads it", FORMULA)

    return explain
