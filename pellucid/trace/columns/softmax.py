"""Softmax and its logarithm: every score moves every probability beside it."""

import torch

from pellucid.layers import LogSoftmax, Softmax
from pellucid.trace.calls import Call
from pellucid.trace.columns.base import Column, at, index_of, places, worked


def softmax(call: Call, what: str, place: int) -> Column:
    """∂y_o/∂x_i = y_o ([i = o] - y_i), and for the logarithm [i = o] - exp(y_i)."""
    layer = call.layer
    assert isinstance(layer, Softmax | LogSoftmax)
    index: list[torch.Tensor | int] = list(index_of(place, call.y.shape))
    index[layer.axis] = torch.arange(call.y.shape[layer.axis])
    where = places(call.y.shape, *index)
    y = at(call.y, where)
    itself = (where == place).double()
    own = y[itself.bool()].expand(len(y))
    if isinstance(layer, LogSoftmax):
        own = own.exp()
    parts = worked(itself, "[i = o]", "itself"), worked(-own, "-aᵢ", "probability")
    share = worked(itself - own, "[i = o] - aᵢ", "share", *parts)
    if isinstance(layer, LogSoftmax):
        return Column(
            where,
            (share,),
            "a score raises its own log-probability and lowers all of them by its probability",
            r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o\, ([i = o] - a_i)",
        )
    return Column(
        where,
        (worked(y, "yₒ", "probability"), share),
        "a score raises its own probability at the cost of the others",
        r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o\, y_o\, ([i = o] - y_i)",
    )
