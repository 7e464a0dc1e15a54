"""Import of ONNX files as networks."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.combine import Graph, join
from pellucid.config import from_config
from pellucid.errors import PellucidError
from pellucid.layers.base import Layer, Params, Shape
from pellucid.network.bounds import within_bounds
from pellucid.network.traced import GraphValue, TracedLayer
from pellucid.onnx_nodes import is_writable, write
from pellucid.onnx_nodes.proto import LAYER_METADATA_KEY, node_of, node_proto, optional, read_proto
from pellucid.opening.onnx import READERS, NodeReading, ReadLayer, Unreadable
from pellucid.registry import is_ours
from pellucid.run.weights import fill
from pellucid.weights.fault import FileFault, file_errors, quoted

SUPPORTED = "pellucid imports the operators that it exports"
MAX_SIZE = 1 << 13  # of height, width and channels; a check of a layer may create constants of this size squared
TOLERANCE = 1e-5  # constants computed on another machine differ in the last digits


def imported(path: str | os.PathLike[str]) -> tuple[Graph, Params, Any]:
    """Return the network of an ONNX file, its weights in float32, and the shape of the input.

    The shape has no batch axis; for several inputs it is a tuple of shapes.
    """
    path = Path(path)
    onnx = optional("onnx")
    if not path.is_file():
        raise PellucidError(f"{path} is missing; give an ONNX file")
    broken = (onnx.checker.ValidationError, optional("google.protobuf.message").DecodeError)
    others = (RuntimeError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, MemoryError)
    with file_errors(path, "ONNX model", (*broken, *others)):
        model, constants = read_proto(onnx, path)
        network = _Network(model.graph, constants)
        network.read(onnx, model.graph.node)
        net = network.graph([each.name for each in model.graph.output])
        params, _ = within_bounds(net, network.input_shape)
    return net, fill(path, params, network.tensors), network.input_shape


class _Network:
    """The network of an ONNX graph, built node by node: `read` adds the nodes, `graph` returns the result."""

    def __init__(self, graph: Any, constants: Mapping[str, Tensor]) -> None:
        self.constants = constants
        self.shapes: dict[str, Shape] = {}  # of inputs and node outputs, by their names in the file
        self.names: dict[str, str] = {}  # from names in the file to names in the Graph
        self.nodes: dict[str, tuple[Any, ...]] = {}
        self.tensors: dict[str, Tensor] = {}
        # The first node of each layer with weights, by layer and the names of its weights: later nodes share them.
        self.layer_nodes: dict[tuple[str, tuple[str, ...]], str] = {}
        for each in graph.input:
            if each.name not in constants:
                self.shapes[each.name] = _input_shape(each)
                self.names[each.name] = self._free(each.name)
        self.inputs = tuple(self.names.values())
        if not self.inputs:
            raise FileFault("has no input")

    @property
    def input_shape(self) -> Any:
        """The shape of the input, or a tuple of shapes for several."""
        shapes = tuple(self.shapes.values())[: len(self.inputs)]
        return shapes[0] if len(shapes) == 1 else shapes

    def read(self, onnx: Any, protos: Any) -> None:
        """Read all nodes; raises Fault, which lists all unsupported operators."""
        protos = [each for each in protos if each.op_type != "Constant" or each.domain]
        ops = [node_of(onnx, each).op for each in protos if not _layer_metadata(each)]
        unknown = sorted({op for op in ops if op not in READERS})
        if unknown:
            raise FileFault(f"uses unsupported operators: {quoted(', '.join(unknown), 400)}", SUPPORTED)
        start = 0
        while start < len(protos):
            end = _end_of_layer(protos, start) if _layer_metadata(protos[start]) else start + 1
            last = protos[end - 1]
            try:
                found = (
                    _layer_from_metadata(onnx, protos[start:end], self.constants, self.shapes)
                    if _layer_metadata(last)
                    else self._one(onnx, last)
                )
                self._add(last, found)
            except (Unreadable, PellucidError) as error:
                where = f"its node {quoted(last.name)} ({quoted(last.op_type)})"
                raise FileFault(f"cannot be imported: {where}: {quoted(str(error), 200)}", SUPPORTED) from error
            start = end

    def graph(self, outputs: list[str]) -> Graph:
        """Return the network as a Graph with these outputs."""
        for name in outputs:
            if name not in self.names:
                raise FileFault(f"has an output {quoted(name)} that is not computed by a node")
        return Graph(self.nodes, tuple(self.names[name] for name in outputs), self.inputs)

    def _one(self, onnx: Any, proto: Any) -> ReadLayer:
        """Return the layer of a node without pellucid metadata; raises Unreadable if no layer implements the node."""
        if len([name for name in proto.output if name]) != 1:
            raise Unreadable("has several outputs")
        reading = NodeReading(node_of(onnx, proto), self.constants, self.shapes)
        found = READERS[reading.node.op](reading)
        if reading.attributes:
            raise Unreadable(f"has unsupported attributes: {', '.join(reading.attributes)}")
        return found

    def _add(self, proto: Any, layer: ReadLayer) -> None:
        shapes = tuple(self.shapes[name] for name in layer.inputs)
        _, out = _init(layer.layer, shapes[0] if len(shapes) == 1 else shapes)
        name = self._free(proto.name or proto.op_type.lower())
        layer_node = self.layer_nodes.setdefault((repr(layer.layer), layer.names), name) if layer.names else name
        sources = tuple(self.names[source] for source in layer.inputs)
        self.nodes[name] = (layer.layer if layer_node == name else layer_node, *sources)
        if layer_node == name:
            self.tensors |= {f"{name}.{path}": tensor for path, tensor in layer.params.items()}
        self.shapes[proto.output[0]], self.names[proto.output[0]] = tuple(out), name

    def _free(self, name: str) -> str:
        """Return an unused name for a node."""
        word = re.sub(r"[^A-Za-z0-9]+", "_", name[:200]).strip("_") or "node"
        free, number = word, 1
        while free in self.nodes or free in self.names.values():
            number += 1
            free = f"{word}_{number}"
        return free


def _init(layer: Layer, shape: Any) -> tuple[Params, Any]:
    with torch.device("meta"):
        return layer.init(shape, torch.Generator())


def _input_shape(value: Any) -> Shape:
    """Return an input's shape without the batch axis; raises Fault for a size that is not fixed."""
    dims = value.type.tensor_type.shape.dim
    sizes = tuple(each.dim_value for each in dims)
    if not sizes or any(size < 1 for size in sizes[1:]):
        raise FileFault(
            f"has no fixed sizes for its input {quoted(value.name)}", "export it with fixed sizes after the batch axis"
        )
    return sizes[1:]


def _end_of_layer(nodes: Sequence[Any], start: int) -> int:
    """Return the end of the nodes of one layer: those with the metadata and layer name of the node at `start`.

    The nodes of a layer are called LAYER/NAME, but the last one, with the layer's output, is called LAYER.
    """
    metadata, layer = _layer_metadata(nodes[start]), nodes[start].name.rpartition("/")[0]
    end = start
    while end < len(nodes) and _layer_metadata(nodes[end]) == metadata and nodes[end].name.rpartition("/")[0] == layer:
        end += 1
    has_last_node = end < len(nodes) and _layer_metadata(nodes[end]) == metadata and nodes[end].name == layer
    return end + has_last_node


def _layer_from_metadata(
    onnx: Any, nodes: Sequence[Any], constants: Mapping[str, Tensor], shapes: Mapping[str, Shape]
) -> ReadLayer:
    """Return the layer that the nodes' metadata describes; raises Unreadable unless exporting it gives the same nodes.

    A layer that is exported as several nodes has its configuration in the metadata of each node.
    """
    metadata = json.loads(_layer_metadata(nodes[0]))
    layer, path, inputs = from_config(metadata["layer"]), metadata["path"], tuple(metadata["inputs"])
    if not (is_ours(layer) and is_writable(type(layer))) or not all(name in shapes for name in inputs):
        raise Unreadable("has pellucid metadata that names no layer of pellucid, or unknown inputs")
    values = tuple(GraphValue(name, shapes[name]) for name in inputs)
    shape = tuple(value.shape for value in values)
    expected, out = _init(layer, shape[0] if len(shape) == 1 else shape)
    if any(size > MAX_SIZE for each in (*shape, tuple(out)) for size in each):
        raise Unreadable(f"has more than {MAX_SIZE} rows, columns or channels")
    params = {name: constants[join(path, name)] for name in expected}
    last = nodes[-1]
    step = TracedLayer(last.name, path, layer, params, values, GraphValue(last.output[0], tuple(out)))
    rewritten = write(step)
    if [node_proto(onnx, node) for node in rewritten.with_layer_metadata(READERS)] != list(nodes) or not all(
        name in constants and _close(tensor, constants[name]) for name, tensor in rewritten.constants.items()
    ):
        raise Unreadable("has pellucid metadata of a layer that is exported as different nodes")
    return ReadLayer(layer, inputs, params, tuple(join(path, name) for name in params))


def _layer_metadata(node: Any) -> str:
    """Return the layer configuration in a node's metadata, see `Nodes.with_layer_metadata`; "" if there is none."""
    return next((each.value for each in node.metadata_props if each.key == LAYER_METADATA_KEY), "")


def _close(tensor: Tensor, other: Tensor) -> bool:
    if tensor.shape != other.shape or tensor.dtype != other.dtype:
        return False
    return (
        torch.allclose(tensor, other, TOLERANCE, TOLERANCE)
        if tensor.is_floating_point()
        else torch.equal(tensor, other)
    )
