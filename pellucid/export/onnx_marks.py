"""Layers exported as several nodes: recognized on import by a mark on the nodes, and compared with a new export."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.combine import join
from pellucid.config import from_config
from pellucid.export.onnx_nodes import WRITERS, write
from pellucid.export.onnx_proto import MARK, node_proto
from pellucid.export.onnx_readers import Found, Unreadable
from pellucid.export.trace import Step, Value
from pellucid.layers.base import Shape

LARGEST = 1 << 13  # of a side of an image, or channels: what is rewritten takes a square of it
CLOSE = 1e-5  # constants that another machine computed differ in their last digits


def group(nodes: Sequence[Any], start: int) -> int:
    """Return the end of the run of nodes that share the mark and layer name of the node at `start`."""
    mark, layer = _mark(nodes[start]), nodes[start].name.rpartition("/")[0]
    end = start
    while end < len(nodes) and _mark(nodes[end]) == mark and nodes[end].name.rpartition("/")[0] == layer:
        end += 1
    closed = end < len(nodes) and _mark(nodes[end]) == mark and nodes[end].name == layer
    return end + closed


def marked_layer(
    onnx: Any, nodes: Sequence[Any], constants: Mapping[str, Tensor], shapes: Mapping[str, Shape]
) -> Found:
    """Return the layer that the nodes' mark names; Unreadable unless its export is exactly these nodes."""
    told = json.loads(_mark(nodes[0]))
    layer, path, inputs = from_config(told["layer"]), told["path"], tuple(told["inputs"])
    if type(layer) not in WRITERS or not all(name in shapes for name in inputs):
        raise Unreadable("bears a mark that tells no layer and its inputs")
    given = tuple(Value(name, shapes[name]) for name in inputs)
    shape = tuple(value.shape for value in given)
    with torch.device("meta"):
        wanted, out = layer.init(shape[0] if len(shape) == 1 else shape, torch.Generator())
    if any(size > LARGEST for each in (*shape, tuple(out)) for size in each):
        raise Unreadable(f"stands over more than {LARGEST} rows, columns or channels")
    params = {name: constants[join(path, name)] for name in wanted}
    last = nodes[-1]
    step = Step(last.name, path, layer, params, given, Value(last.output[0], tuple(out)))
    again = write(step)
    if [node_proto(onnx, node) for node in again.marked()] != list(nodes) or not all(
        name in constants and _close(tensor, constants[name]) for name, tensor in again.constants.items()
    ):
        raise Unreadable("bears the mark of a layer that pellucid writes as other nodes")
    return Found(layer, inputs, params, tuple(join(path, name) for name in params))


def is_marked(node: Any) -> bool:
    """Return whether a node is one of several that represent one layer."""
    return bool(_mark(node))


def _mark(node: Any) -> str:
    return next((each.value for each in node.metadata_props if each.key == MARK), "")


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.allclose(one, other, CLOSE, CLOSE) if one.is_floating_point() else torch.equal(one, other)
