"""Layers that Pellucid's export wrote as several nodes, from the configuration in the nodes' metadata."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pellucid.base.limits import MAX_ONNX_MAIN_AXIS
from pellucid.combine import join
from pellucid.extend.config import from_config
from pellucid.extend.registry import is_ours
from pellucid.layers.base import Layer, Trait
from pellucid.network.traced import TracedLayer, graph_value, output_of
from pellucid.opening.onnx.catalogue import READERS
from pellucid.opening.onnx.values import Unreadable, Value, constant
from pellucid.opening.onnx_nodes import is_writable, write
from pellucid.opening.onnx_nodes.proto import LAYER_METADATA_KEY, node_proto

TOLERANCE = 1e-5  # constants computed on another machine differ in the last digits


def layer_metadata(node: Any) -> str:
    """Return the layer configuration in a node's metadata, see `Nodes.with_layer_metadata`; "" if there is none."""
    return next((prop.value for prop in node.metadata_props if prop.key == LAYER_METADATA_KEY), "")


def end_of_layer(nodes: Sequence[Any], start: int) -> int:
    """Return the index after the nodes of one layer, which have the metadata and layer name of the node at `start`.

    The nodes of a layer are called LAYER/NAME; only the last node, with the layer's output, is called LAYER.
    """
    metadata = layer_metadata(nodes[start])
    layer = nodes[start].name.rpartition("/")[0]
    end = start
    while end < len(nodes) and layer_metadata(nodes[end]) == metadata and nodes[end].name.rpartition("/")[0] == layer:
        end += 1
    has_last_node = end < len(nodes) and layer_metadata(nodes[end]) == metadata and nodes[end].name == layer
    return end + has_last_node


def layer_of(
    onnx: Any, nodes: Sequence[Any], constants: Mapping[str, Tensor], lookup: Callable[[str], Value | None]
) -> tuple[Layer, list[Value], dict[str, Value]]:
    """Return the layer that the nodes' metadata describes, its inputs and its parameters.

    A layer that is exported as several nodes has its configuration in the metadata of each node. lookup: returns a
    value by its name in the file. Raises Unreadable unless the export of the layer writes the same nodes.
    """
    metadata = json.loads(layer_metadata(nodes[0]))
    layer = from_config(metadata["layer"])
    path = metadata["path"]
    names = tuple(metadata["inputs"])
    inputs = [value for value in map(lookup, names) if value is not None]
    if not (is_ours(layer) and is_writable(type(layer))) or not inputs or len(inputs) != len(names):
        raise Unreadable("has pellucid metadata that names no layer of pellucid, or unknown inputs")
    params = {name: constants[join(path, name)] for name in _parameter_names(layer, inputs)}
    last_node = nodes[-1]
    meta_inputs = [(value.tensors[0].to("meta"), value.tensors[1].to("meta")) for value in inputs]
    meta_output = output_of(layer, params, meta_inputs, len(meta_inputs) > 1)
    if any(size > MAX_ONNX_MAIN_AXIS for pair in (*meta_inputs, meta_output) for size in pair[0].shape[1:]):
        raise Unreadable(f"has more than {MAX_ONNX_MAIN_AXIS} rows, columns or channels")
    graph_inputs = tuple(graph_value(name, pair) for name, pair in zip(names, meta_inputs, strict=True))
    step = TracedLayer(last_node.name, path, layer, params, graph_inputs, graph_value(last_node.output[0], meta_output))
    rewritten = write(step)
    # files of earlier versions lack the fields of layers that were added since
    described = [
        replace(node, layer_metadata=node.layer_metadata and layer_metadata(last_node))
        for node in rewritten.with_layer_metadata(READERS)
    ]
    if [node_proto(onnx, node) for node in described] != list(nodes) or not all(
        name in constants and _is_close(tensor, constants[name]) for name, tensor in rewritten.constants.items()
    ):
        raise Unreadable("has pellucid metadata of a layer that is exported as different nodes")
    return layer, inputs, {name: constant(tensor, join(path, name)) for name, tensor in params.items()}


def _parameter_names(layer: Layer, inputs: Sequence[Value]) -> list[str]:
    """Return the names of a layer's parameters; layers with Trait.ANY_AXES have none."""
    if Trait.ANY_AXES in layer.traits:
        return []
    shapes: Any = tuple(value.sizes[0][1:] for value in inputs)
    with torch.device("meta"):
        params, _ = layer.init(shapes if len(shapes) > 1 else shapes[0], torch.Generator())
    return [*params]


def _is_close(tensor: Tensor, other: Tensor) -> bool:
    if tensor.shape != other.shape or tensor.dtype != other.dtype:
        return False
    return (
        torch.allclose(tensor, other, TOLERANCE, TOLERANCE)
        if tensor.is_floating_point()
        else torch.equal(tensor, other)
    )
