"""Pools and their reversal: which windows a value was in, and what it counted there."""

import torch

from pellucid.layers import LpPool2d
from pellucid.layers.base import Mode
from pellucid.trace.calls import Call
from pellucid.trace.columns.base import Column, at, index_of, one, worked


def max_pool2d(call: Call, what: str, place: int) -> Column:
    """A value moves the windows that it won."""
    plane = call.x.shape[2] * call.x.shape[3]
    owner, inside = divmod(place, plane)
    switches = call.cache.switches.flatten(2).flatten(0, 1)  # (N C, H' W')
    won = (switches[owner] == inside).nonzero().flatten()
    words = {0: "it was the largest of no window: nothing passes", 1: "it was the largest of its window: all passes"}
    return Column(
        owner * switches.shape[1] + won,
        (),
        words.get(len(won), f"it was the largest of {len(won)} windows: their deltas add up"),
        r"\frac{\partial C}{\partial x_i} = \sum_{o:\, \text{switch}(o) = i} \delta_o",
    )


def max_unpool2d(call: Call, what: str, place: int) -> Column:
    """A value moves the place that its switch names."""
    outs = call.y.shape[2] * call.y.shape[3]
    plane = call.x.shape[2] * call.x.shape[3]
    if what == "x.1":
        return Column(one(0)[:0], (), "a switch is a place, not a number: it has no gradient", "0")
    switch = int(call.cache.switches.flatten()[place])
    return Column(
        one(place // plane * outs + switch),
        (),
        "it was put back where the maximum stood, and takes the delta there",
        r"\frac{\partial C}{\partial x_i} = \delta_{\text{switch}(i)}",
    )


def lp_pool2d(call: Call, what: str, place: int) -> Column:
    """∂y/∂x = sign(x) |x|^(p - 1) y^(1 - p) in every window that holds x."""
    layer = call.layer
    assert isinstance(layer, LpPool2d)
    n, c, h, w = index_of(place, call.x.shape)
    alone = torch.zeros_like(call.x[:1, :1])
    alone[0, 0, h, w] = 1
    held = layer.forward({}, alone, Mode())[0].flatten().nonzero().flatten()  # the windows that hold it
    where = (n * call.x.shape[1] + c) * (call.y.shape[2] * call.y.shape[3]) + held
    x, y = at(call.x, one(place)), at(call.y, where)
    where, y = where[y > 0], y[y > 0]  # a window of zeros has no gradient
    own = (x.sign() * x.abs() ** (layer.p - 1)).expand(len(y))
    return Column(
        where,
        (worked(own, "sign(x) |x|^(p-1)", "activation"), worked(y ** (1 - layer.p), "y^(1-p)", "scale")),
        f"it is in {len(where)} windows: in each it counts sign(x) |x|^(p-1) over the norm to the same power",
        r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o\, \mathrm{sign}(x_i)\,|x_i|^{p-1}\, y_o^{1-p}",
    )
