"""Operators with several outputs, such as chunk and unbind: each output that is used is a Slice or a Select."""

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.opening.exported import Call, Multiple
from pellucid.opening.values import CallLayer, Unsupported
from pellucid.operators import Select, Slice

SPLITS = ("split", "split_with_sizes", "chunk", "unbind")


def part(call: Call, calls: Sequence[Call], shapes: Mapping[str, tuple[Any, ...]]) -> CallLayer:
    """Return the layer for a call that takes one output of an operator with several."""
    whole = next(one for one in calls if one.name == call.arguments["0"].name)
    if whole.op not in SPLITS:
        raise Unsupported(f"an output of {whole.op}")
    source, index = whole.arguments["self"].name, call.arguments["1"]
    shape = shapes[source]
    axis = whole.arguments["dim"] % len(shape)
    if whole.op == "unbind":
        return CallLayer(Select(axis, index), (source,), {})
    start, stop = _bounds(whole, index, shape[axis])
    return CallLayer(Slice(axis, start, stop), (source,), {})


def _bounds(whole: Call, index: int, size: Any) -> tuple[int, int]:
    """Return the first position of an output along the axis, and the one after its last."""
    given = next(whole.arguments[name] for name in ("split_sizes", "split_size", "chunks") if name in whole.arguments)
    if isinstance(size, Multiple) or isinstance(given, Multiple):
        raise Unsupported("it depends on the number of examples")
    if isinstance(given, tuple):
        return sum(given[:index]), sum(given[: index + 1])
    each = -(-size // given) if whole.op == "chunk" else given
    return each * index, min(each * (index + 1), size)
