"""Translation of operators with several outputs, such as chunk and unbind: one layer for each used output."""

from collections.abc import Mapping
from typing import Any

from pellucid.layers.base import Layer
from pellucid.opening.exported import Call, Multiple
from pellucid.opening.values import CallLayer, Unsupported
from pellucid.operators import Mean, Select, Slice, Variance

# Each used output has a layer of its own, so that all values of a graph are single tensors.
SPLIT_OPS = ("split", "split_with_sizes", "chunk", "unbind")
STATISTIC_OPS = ("var_mean", "std_mean")


def has_several_outputs(call: Call) -> bool:
    """Return whether an operator has several outputs."""
    return call.op in SPLIT_OPS or (call.op in STATISTIC_OPS and call.dtype is None)


def output_part_layer(call: Call, calls: Mapping[str, Call], shapes: Mapping[str, tuple[Any, ...]]) -> CallLayer:
    """Return the layer for a call that selects one output of an operator with several outputs; calls: by name."""
    producer = calls[call.arguments["0"].name]
    if not has_several_outputs(producer):
        raise Unsupported(f"an output of {producer.op}")
    source = producer.arguments["self"].name
    index = call.arguments["1"]
    shape = shapes[source]
    if producer.op in STATISTIC_OPS:
        return CallLayer(_statistic_layer(producer, index, len(shape)), (source,))
    axis = producer.arguments["dim"] % len(shape)
    if producer.op == "unbind":
        return CallLayer(Select(axis, index), (source,))
    start, stop = _bounds(producer, index, shape[axis])
    return CallLayer(Slice(axis, start, stop), (source,))


def _statistic_layer(producer: Call, index: int, rank: int) -> Layer:
    """Return the layer for an output of var_mean or std_mean; raises Unsupported for a standard deviation."""
    dim = producer.arguments["dim"]
    keep = bool(producer.arguments["keepdim"])
    axes = tuple(axis % rank for axis in ((dim,) if isinstance(dim, int) else dim or range(rank)))
    if index == 1:
        return Mean(axes, keep)
    correction = producer.arguments.get("correction")
    if producer.op == "var_mean":
        return Variance(axes, keep, 1.0 if correction is None else float(correction))
    raise Unsupported(f"output {index} of {producer.op}")


def _bounds(producer: Call, index: int, size: Any) -> tuple[int, int]:
    """Return the start and stop of an output of a split along the axis."""
    sizes_or_count = next(
        producer.arguments[name] for name in ("split_sizes", "split_size", "chunks") if name in producer.arguments
    )
    if isinstance(size, Multiple) or isinstance(sizes_or_count, Multiple):
        raise Unsupported("it depends on the number of examples")
    if isinstance(sizes_or_count, tuple):
        return sum(sizes_or_count[:index]), sum(sizes_or_count[: index + 1])
    size_of_each = -(-size // sizes_or_count) if producer.op == "chunk" else sizes_or_count
    return size_of_each * index, min(size_of_each * (index + 1), size)
