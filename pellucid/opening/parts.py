"""Operators with several outputs, such as chunk, unbind and max: each output that is used has a layer of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.layers.base import Layer
from pellucid.opening.exported import Call, Multiple
from pellucid.opening.values import CallLayer, Unsupported
from pellucid.operators import LargestOne, Mean, Select, Slice, Variance

SPLITS = ("split", "split_with_sizes", "chunk", "unbind")
STATISTICS = ("max", "var_mean", "std_mean")


def has_parts(call: Call) -> bool:
    """Return whether an operator has several outputs."""
    return call.op in SPLITS or (call.op in STATISTICS and call.dtype is None)


def part(call: Call, calls: Sequence[Call], shapes: Mapping[str, tuple[Any, ...]]) -> CallLayer:
    """Return the layer for a call that takes one output of an operator with several."""
    whole = next(one for one in calls if one.name == call.arguments["0"].name)
    if not has_parts(whole):
        raise Unsupported(f"an output of {whole.op}")
    source, index = whole.arguments["self"].name, call.arguments["1"]
    shape = shapes[source]
    if whole.op in STATISTICS:
        return CallLayer(_statistic(whole, index, len(shape)), (source,))
    axis = whole.arguments["dim"] % len(shape)
    if whole.op == "unbind":
        return CallLayer(Select(axis, index), (source,))
    start, stop = _bounds(whole, index, shape[axis])
    return CallLayer(Slice(axis, start, stop), (source,))


def _statistic(whole: Call, index: int, count: int) -> Layer:
    """Return the layer for an output of max, var_mean or std_mean; positions of maxima have none."""
    given, keep = whole.arguments["dim"], bool(whole.arguments["keepdim"])
    axes = tuple(axis % count for axis in ((given,) if isinstance(given, int) else given or range(count)))
    if whole.op == "max" and index == 0:
        return LargestOne(axes[0], keep)
    if whole.op != "max" and index == 1:
        return Mean(axes, keep)
    correction = whole.arguments.get("correction")
    if whole.op == "var_mean":
        return Variance(axes, keep, 1.0 if correction is None else float(correction))
    raise Unsupported(f"output {index} of {whole.op}")


def _bounds(whole: Call, index: int, size: Any) -> tuple[int, int]:
    """Return the first position of an output along the axis, and the one after its last."""
    given = next(whole.arguments[name] for name in ("split_sizes", "split_size", "chunks") if name in whole.arguments)
    if isinstance(size, Multiple) or isinstance(given, Multiple):
        raise Unsupported("it depends on the number of examples")
    if isinstance(given, tuple):
        return sum(given[:index]), sum(given[: index + 1])
    each = -(-size // given) if whole.op == "chunk" else given
    return each * index, min(each * (index + 1), size)
