"""Columns of layers that move, average, pool or merge values."""

import torch

from pellucid.layers import Concat, LpPool2d
from pellucid.layers.base import Mode
from pellucid.trace.columns.base import Column, Explainer, at, one, part_of, places, read, worked
from pellucid.trace.passes import Call
from pellucid.trace.text import index_of

UNCHANGED = r"\frac{\partial C}{\partial x} = \delta"
NOT_DIFFERENTIATED = "a region says where to look: its gradient is 0 by definition"
FORMULA = r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o\, k_{oi}"


def linear_map(words: str) -> Explainer:
    """Return the explainer of a layer without parameters that is linear in its one input, but for a constant."""

    def explain(call: Call, what: str, place: int) -> Column:
        zeros = torch.zeros_like(call.x, memory_format=torch.contiguous_format)
        constant = call.layer.forward(call.params, zeros, Mode())[0].flatten()
        alone = zeros.clone()
        alone.view(-1)[place] = 1
        moved = call.layer.forward(call.params, alone, Mode())[0].flatten() - constant
        where = moved.nonzero().flatten()
        share = moved[where].double()
        factors = () if bool((share == 1).all()) else (worked(share, "share", "share"),)
        return Column(where, factors, words if len(where) else "no output reads it", FORMULA)

    return explain


def add(call: Call, what: str, place: int) -> Column:
    """Return the column of one input of a sum."""
    return Column(one(place), (), "a sum passes its delta unchanged to each of its inputs", UNCHANGED)


def concat(call: Call, what: str, place: int) -> Column:
    """Return the column of one input of Concat, which is its own part of the output."""
    part = part_of(what)
    assert part is not None
    assert isinstance(call.layer, Concat)
    axis = call.layer.axis
    index = list(index_of(place, call.inputs[part].tensor.shape))
    index[axis] += sum(value.tensor.shape[axis] for value in call.inputs[:part])
    return Column(places(call.y.shape, *index), (), "it is copied to the output: the delta passes unchanged", UNCHANGED)


def crop(call: Call, what: str, place: int) -> Column:
    """A pixel of the first input is part of the output unless it is cut off; of the second only the size is used."""
    index = index_of(place, call.inputs[part_of(what) or 0].tensor.shape)
    kept = part_of(what) == 0 and all(at < size for at, size in zip(index[2:], call.y.shape[2:], strict=True))
    words = "it is copied to the output: the delta passes unchanged" if kept else "it is cut off: its gradient is 0"
    return Column(places(call.y.shape, *index) if kept else one(0)[:0], (), words, UNCHANGED)


def multiply(call: Call, what: str, place: int) -> Column:
    """Each input is multiplied by the product of the others; all copies of one that is broadcast depend on it."""
    part = part_of(what)
    assert part is not None
    shape = call.y.shape
    own = index_of(place, call.inputs[part].tensor.shape)
    sizes = zip(own, call.inputs[part].tensor.shape, shape, strict=True)
    axes = [torch.arange(full) if size != full else torch.tensor([at]) for at, size, full in sizes]
    where = places(shape, *axes)
    factors = []
    for other, value in enumerate(call.inputs):
        if other != part:
            indices = torch.arange(value.tensor.numel()).view(value.tensor.shape).expand(shape).flatten()
            factors.append(read(call, f"x.{other}", indices[where], f"x{other + 1}", "activation"))
    return Column(
        where,
        tuple(factors),
        "the delta times the product of the other inputs",
        r"\frac{\partial C}{\partial x_k} = \sum \delta \prod_{l \neq k} x_l",
    )


def max_pool2d(call: Call, what: str, place: int) -> Column:
    """The maxima that are this value depend on it."""
    plane = call.x.shape[2] * call.x.shape[3]
    owner, inside = divmod(place, plane)
    switches = call.cache.switches.flatten(2).flatten(0, 1)  # (N C, H' W')
    won = (switches[owner] == inside).nonzero().flatten()
    words = {0: "it was the largest of no window: its gradient is 0", 1: "it was the largest of its window"}
    return Column(
        owner * switches.shape[1] + won,
        (),
        words.get(len(won), f"it was the largest of {len(won)} windows: their deltas add up"),
        r"\frac{\partial C}{\partial x_i} = \sum_{o:\, \text{switch}(o) = i} \delta_o",
    )


def max_unpool2d(call: Call, what: str, place: int) -> Column:
    """A value is copied to the position that its switch names."""
    outs = call.y.shape[2] * call.y.shape[3]
    plane = call.x.shape[2] * call.x.shape[3]
    if what == "x.1":
        return Column(one(0)[:0], (), "a switch is an index, not a number: it has no gradient", "0")
    switch = int(call.cache.switches.flatten()[place])
    return Column(
        one(place // plane * outs + switch),
        (),
        "it was copied to where the maximum stood: the delta there",
        r"\frac{\partial C}{\partial x_i} = \delta_{\text{switch}(i)}",
    )


def roi_align(call: Call, what: str, place: int) -> Column:
    """A pixel has a share in every bin with a sample beside it; a region has no gradient."""
    if part_of(what) == 1:
        return Column(one(0)[:0], (), NOT_DIFFERENTIATED, "0")
    maps, regions = (value.tensor for value in call.inputs)
    alone = torch.zeros_like(maps, memory_format=torch.contiguous_format)
    alone.view(-1)[place] = 1
    shares = call.layer.forward(call.params, (alone, regions), Mode())[0].flatten()
    where = shares.nonzero().flatten()
    words = (
        "it is part of the mean of samples in each bin: the delta times its share" if len(where) else "no bin reads it"
    )
    return Column(where, (worked(shares[where].double(), "share", "share"),), words, FORMULA)


def roi_pool(call: Call, what: str, place: int) -> Column:
    """The maxima that are this pixel depend on it; a region has no gradient."""
    if part_of(what) == 1:
        return Column(one(0)[:0], (), NOT_DIFFERENTIATED, "0")
    _, _, height, width = call.inputs[0].tensor.shape
    n, channel, row, column = index_of(place, call.inputs[0].tensor.shape)
    won = torch.zeros_like(call.cache.switches, dtype=torch.bool)
    won[:, channel] = call.cache.switches[:, channel] == (n * height + row) * width + column
    where = won.flatten().nonzero().flatten()
    words = "it was the largest of no bin: its gradient is 0" if not len(where) else "it was the largest of its bins"
    return Column(where, (), words, r"\frac{\partial C}{\partial x_i} = \sum_{o:\, \text{switch}(o) = i} \delta_o")


def lp_pool2d(call: Call, what: str, place: int) -> Column:
    """∂y/∂x = sign(x) |x|^(p - 1) y^(1 - p) in every window over x."""
    layer = call.layer
    assert isinstance(layer, LpPool2d)
    n, c, h, w = index_of(place, call.x.shape)
    alone = torch.zeros_like(call.x[:1, :1])
    alone[0, 0, h, w] = 1
    held = layer.forward({}, alone, Mode())[0].flatten().nonzero().flatten()  # the windows over it
    where = (n * call.x.shape[1] + c) * (call.y.shape[2] * call.y.shape[3]) + held
    x, y = at(call.x, one(place)), at(call.y, where)
    where, y = where[y > 0], y[y > 0]  # a window of zeros has no gradient
    own = (x.sign() * x.abs() ** (layer.p - 1)).expand(len(y))
    return Column(
        where,
        (worked(own, "sign(x) |x|^(p-1)", "activation"), worked(y ** (1 - layer.p), "y^(1-p)", "scale")),
        f"it is in {len(where)} windows: in each, sign(x) |x|^(p-1) over the norm to the same power",
        r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o\, \mathrm{sign}(x_i)\,|x_i|^{p-1}\, y_o^{1-p}",
    )
