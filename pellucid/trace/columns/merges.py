"""Merges: layers of several inputs."""

import torch

from pellucid.layers import Concat
from pellucid.trace.calls import Call
from pellucid.trace.columns.base import Column, index_of, one, part_of, places, read


def add(call: Call, what: str, place: int) -> Column:
    """Each input moves the sum one to one."""
    return Column(
        one(place),
        (),
        "a sum hands its delta to each of its inputs as it is",
        r"\frac{\partial C}{\partial x} = \delta",
    )


def concat(call: Call, what: str, place: int) -> Column:
    """Each input stands in its own part of the output."""
    part = part_of(what)
    assert part is not None
    assert isinstance(call.layer, Concat)
    axis = call.layer.axis
    index = list(index_of(place, call.inputs[part].tensor.shape))
    index[axis] += sum(value.tensor.shape[axis] for value in call.inputs[:part])
    return Column(
        places(call.y.shape, *index),
        (),
        "it stands unchanged among the outputs, and takes the delta there",
        r"\frac{\partial C}{\partial x} = \delta",
    )


def crop(call: Call, what: str, place: int) -> Column:
    """A pixel of the first input stands in the output unless it is cut off; of the second only the size is read."""
    index = index_of(place, call.inputs[part_of(what) or 0].tensor.shape)
    kept = part_of(what) == 0 and all(at < size for at, size in zip(index[2:], call.y.shape[2:], strict=True))
    return Column(
        places(call.y.shape, *index) if kept else torch.empty(0, dtype=torch.int64),
        (),
        "it stands unchanged in the output, and takes the delta there; what is cut off takes none",
        r"\frac{\partial C}{\partial x} = \delta",
    )


def multiply(call: Call, what: str, place: int) -> Column:
    """Each input is weighed by the product of the others; one that is repeated moves every copy."""
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
            lying = torch.arange(value.tensor.numel()).view(value.tensor.shape).expand(shape).flatten()
            factors.append(read(call, f"x.{other}", lying[where], f"x{other + 1}", "activation"))
    return Column(
        where,
        tuple(factors),
        "a product hands each input its delta times the other inputs",
        r"\frac{\partial C}{\partial x_k} = \sum \delta \prod_{l \neq k} x_l",
    )
