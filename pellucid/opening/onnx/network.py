"""The network of an ONNX graph, built node by node."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_ONNX_ENDS, MAX_ONNX_VALUES
from pellucid.base.text import plural
from pellucid.combine import Graph
from pellucid.layers.base import Layer, Mode, Params, Trait
from pellucid.nested import flatten
from pellucid.opening.onnx.catalogue import READERS
from pellucid.opening.onnx.folding import FOLDED_OPS, Folding
from pellucid.opening.onnx.metadata import end_of_layer, layer_metadata, layer_of
from pellucid.opening.onnx.reading import GraphContext, NodeReading
from pellucid.opening.onnx.tensors import FLOATS
from pellucid.opening.onnx.values import BATCH_SIZES, Sizes, Unreadable, Value, computed_value, constant
from pellucid.opening.onnx_nodes import Node
from pellucid.opening.onnx_nodes.proto import names_read, node_of
from pellucid.opening.values import unused_name
from pellucid.operators import Fixed, Learned
from pellucid.weights.fault import FileFault, check_count, quoted
from pellucid.weights.match import match

SUPPRESSION_OPS = ("NonMaxSuppression",)  # the operators at which a detector is cut
# Errors that invalid attributes and inputs may cause while a node is read.
_READING_ERRORS = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError, AttributeError)


class OnnxGraph:
    """The nodes of a graph, read in order: `read` adds them, `graph` returns the result.

    constants: the initializers and the values of Constant nodes, by name.
    initializers: the names of the initializers, whose values are learned.
    shapes: the shapes of the inputs by name, without the batch axis.
    dtypes: the dtypes of the inputs by name.
    batch: the file's batch size, None for any.
    """

    def __init__(
        self, onnx: Any, opset: int, constants: Mapping[str, Tensor], initializers: Iterable[str],
        shapes: Mapping[str, Sizes], dtypes: Mapping[str, torch.dtype], batch: int | None,
    ) -> None:  # fmt: skip
        self.onnx = onnx
        self.constants = constants
        self.learned_names = set(initializers)
        self.nodes: dict[str, tuple[Any, ...]] = {}
        self.tensors_by_node: dict[str, dict[str, Tensor]] = {}  # parameters of each node, by name
        self.values: dict[str, Value] = {}  # by name in the file
        self.used_names: set[str] = set()  # names of nodes and paths of parameters
        self.next_suffixes: dict[str, int] = {}
        self.source_nodes: dict[tuple[str, str], str] = {}  # nodes that output parameters, by key and derivation
        # The first node with each layer and weights, by layer and names of the weights: later nodes reuse its layer.
        self.weight_owners: dict[tuple[Any, ...], str] = {}
        self.missing_nodes: dict[str, list[str]] = {}
        self.advice = "pellucid opens networks of the operators that have a layer"
        self.node_name = ""  # name of the node that is being read
        self.folding = Folding(onnx, opset)
        self.context = GraphContext(onnx, opset, batch, self.emit)
        for name, shape in shapes.items():
            node = self._unused_name(name)
            first, second = ((batch_size, *shape) for batch_size in BATCH_SIZES)
            self.values[name] = computed_value((first, second), node, dtypes[name])
        self.inputs = tuple(value.node for value in self.values.values())
        if not self.inputs:
            raise FileFault("has no input")

    def read(self, protos: Sequence[Any]) -> None:
        """Read all nodes; raises FileFault, which lists all nodes without a layer."""
        start = 0
        while start < len(protos):
            end = end_of_layer(protos, start) if layer_metadata(protos[start]) else start + 1
            last_node = protos[end - 1]
            try:
                outputs = self._read_node(protos[start:end])
            except Unreadable as error:
                self._add_missing(last_node, str(error))
            except (PellucidError, *_READING_ERRORS) as error:
                self._add_missing(last_node, quoted(" ".join(str(error).split()), 200))
            else:
                self.values.update(zip(filter(None, last_node.output), outputs, strict=False))
            start = end
        if self.missing_nodes:
            reason = _missing_text(self.missing_nodes)
            raise FileFault(reason, self.advice)

    def graph(self, outputs: Sequence[str]) -> tuple[Graph, Params]:
        """Return the network as a Graph with these outputs and the nodes that they need, and its parameters.

        Raises FileFault for an output that no node computes, or whose first axis is not the batch axis.
        """
        if not outputs:
            raise FileFault("has no output")
        check_count("outputs", len(outputs), MAX_ONNX_ENDS)  # those of the nodes before a detector's suppression
        for name in outputs:
            if name not in self.values or self.values[name].is_known:
                raise FileFault(f"has an output {quoted(name)} that is not computed by a node")
            if not self.values[name].has_batch:
                raise FileFault(f"has an output {quoted(name)} whose first axis is not the axis of examples")
        output_nodes = tuple(self.values[name].node for name in outputs)
        needed_nodes = set(output_nodes)
        for name, (layer, *sources) in reversed(self.nodes.items()):
            if name in needed_nodes:
                needed_nodes.update(sources, [layer] if isinstance(layer, str) else [])
        nodes = {name: node for name, node in self.nodes.items() if name in needed_nodes}
        return Graph(nodes, output_nodes, self.inputs), {name: self.tensors_by_node.get(name, {}) for name in nodes}

    def emit(
        self, layer: Layer, inputs: Sequence[Value], params: Mapping[str, Value], name_suffix: str = "",
        with_network_input: bool = False,
    ) -> Value:  # fmt: skip
        """Add a node, and return its output; see `Emit`. Nodes with equal layers and the same weights share a layer."""
        # the layer reads the number of examples from the network's first input
        all_inputs = [*inputs, self.values[next(iter(self.values))]] if with_network_input else list(inputs)
        sizes = _output_sizes(layer, all_inputs, {name: value.tensors[0] for name, value in params.items()})
        if max(torch.Size(size).numel() for size in sizes) > MAX_ONNX_VALUES:
            raise Unreadable(f"has a result of more than {MAX_ONNX_VALUES:,} values")
        sources = [self._source_node(value) for value in all_inputs]
        weight_keys = tuple((value.key, value.derivation) for value in params.values())
        name = self._name_node(params, name_suffix)
        has_keys = weight_keys and all(key for key, _ in weight_keys)
        owner = self.weight_owners.setdefault((layer, *weight_keys), name) if has_keys else name
        self.nodes[name] = (layer if owner == name else owner, *sources)
        if owner == name:
            self._add_tensors(name, {param: value.tensors[0] for param, value in params.items()})
        return replace(computed_value(sizes, name), outer_size=_outer_size(inputs, sizes))

    def _read_node(self, protos: Sequence[Any]) -> Sequence[Value]:
        """Return the outputs of a node, or of all nodes of one layer; an empty list if an input could not be read."""
        last_node = protos[-1]
        self.node_name = last_node.name or last_node.op_type.lower()
        if layer_metadata(last_node):
            layer, inputs, params = layer_of(self.onnx, protos, self.constants, self._input_value)
            return [self.emit(layer, inputs, params)]
        node = node_of(self.onnx, last_node)
        inputs = [self._input_value(name) if name else None for name in last_node.input]
        # an input could not be read, and is listed; this node is listed too only if it has no reader itself
        if any(name and value is None for name, value in zip(last_node.input, inputs, strict=True)):
            if node.op not in READERS:
                raise Unreadable
            return []
        all_known = all(value is None or value.is_known for value in inputs)
        is_kept = _is_float32(node, inputs) or (node.op == "Expand" and _is_repeated_per_example(*inputs))
        if all_known and node.op in FOLDED_OPS and not is_kept:
            return self.folding.fold(last_node, inputs)
        if node.op not in READERS:
            raise Unreadable
        reading = NodeReading(node, inputs, self.context)
        result = READERS[node.op](reading)
        # an attribute that no reader looked at could change the result
        if reading.attributes:
            raise Unreadable(f"unsupported attributes: {', '.join(map(quoted, reading.attributes))}")
        outputs = result if isinstance(result, tuple) else (result,)
        if len([name for name in last_node.output if name]) != len(outputs):
            raise Unreadable("has several outputs")
        return outputs

    def _input_value(self, name: str) -> Value | None:
        """Return a value by its name in the file; None if the node that computes it could not be read."""
        if name in self.values or name not in self.constants:
            return self.values.get(name)
        tensor = self.constants[name]
        is_learned = name in self.learned_names and tensor.is_floating_point() and tensor.numel() > 1
        self.values[name] = constant(tensor, name if is_learned else "")
        return self.values[name]

    def _source_node(self, value: Value) -> str:
        """Return the name of the node of a value; a known value becomes a parameter or a constant of the network."""
        if not value.is_known:
            return value.node
        tensor = value.constant
        if tensor is None:
            raise Unreadable("computes with the number of examples")
        # read more than once: one parameter, whose gradients are summed
        if value.key and (value.key, value.derivation) in self.source_nodes:
            return self.source_nodes[value.key, value.derivation]
        if tensor.dtype not in (torch.float32, torch.int64, torch.bool):
            raise Unreadable(f"reads a constant of {str(tensor.dtype).removeprefix('torch.')}")
        shape = tuple(tensor.shape)
        dtype = str(tensor.dtype).removeprefix("torch.")
        name = self._unused_name(value.key or f"{_path(self.node_name)}.constant")
        self.nodes[name] = (Learned(shape) if value.key else Fixed(shape, dtype),)
        self._add_tensors(name, {"": tensor})
        if value.key:
            self.source_nodes[value.key, value.derivation] = name
        return name

    def _add_tensors(self, name: str, tensors: dict[str, Tensor]) -> None:
        self.tensors_by_node[name] = tensors
        self.used_names.update(f"{name}.{param}" for param in tensors if param)

    def _name_node(self, params: Mapping[str, Value], name_suffix: str) -> str:
        """Return a name for a node: PATH if its weight is called PATH.weight in the file, else the node's own name."""
        key = params["weight"].key if "weight" in params else ""
        if key.endswith(".weight") and _path(key) == key:
            return self._unused_name(key.removesuffix(".weight"))
        return self._unused_name(f"{self.node_name}.{name_suffix}" if name_suffix else self.node_name)

    def _unused_name(self, name: str) -> str:
        result = unused_name(_path(name), self._is_used, self.next_suffixes)
        self.used_names.add(result)
        return result

    def _is_used(self, name: str) -> bool:
        """Return whether a node or the path of a parameter has this name, or a parameter of it is a node."""
        return name in self.used_names or any(f"{name}.{param}" in self.nodes for param in ("weight", "bias"))

    def _add_missing(self, proto: Any, reason: str) -> None:
        domain = "" if proto.domain in ("", "ai.onnx") else f"{proto.domain}."
        op = quoted(domain + proto.op_type)
        self.missing_nodes.setdefault(f"{op} ({reason})" if reason else op, []).append(proto.name or proto.output[0])


def cut_at_suppression(protos: Sequence[Any], outputs: Sequence[str]) -> tuple[list[Any], list[str], list[str]]:
    """Return the nodes up to a detector's suppression, the outputs, and the omitted operators.

    The values that omitted nodes read become outputs, after the outputs that do not depend on the suppression.
    """
    dropped_values: set[str] = set()
    dropped_nodes, kept_nodes = list[Any](), list[Any]()
    for proto in protos:
        if proto.op_type in SUPPRESSION_OPS or not dropped_values.isdisjoint(names_read(proto)):
            dropped_values.update(name for name in proto.output if name)
            dropped_nodes.append(proto)
        else:
            kept_nodes.append(proto)
    computed = {name for proto in kept_nodes for name in proto.output}
    read_values = [name for proto in dropped_nodes for name in names_read(proto) if name in computed]
    remaining_outputs = [name for name in outputs if name not in dropped_values]
    new_outputs = list(dict.fromkeys([*remaining_outputs, *read_values])) if dropped_nodes else list(outputs)
    return kept_nodes, new_outputs, [proto.op_type for proto in dropped_nodes]


def _output_sizes(layer: Layer, inputs: Sequence[Value], params: Mapping[str, Tensor]) -> tuple[Sizes, Sizes]:
    """Return the shapes of a layer's output for both BATCH_SIZES.

    Raises Unreadable for parameters of unexpected shapes, and for inputs with different batch sizes.
    """
    with torch.device("meta"):
        if Trait.ANY_AXES in layer.traits:
            first, second = (tuple(_meta_output(layer, inputs, batch).shape) for batch in (0, 1))
            return first, second
        output_sizes: list[Sizes] = []
        for batch in (0, 1):
            shapes = tuple(value.sizes[batch][1:] for value in inputs)
            expected, output_shape = layer.init(shapes[0] if len(shapes) == 1 else shapes, torch.Generator())
            differences = match(flatten(expected), params)
            if differences:
                raise Unreadable(str(differences[0]))
            output_sizes.append((inputs[0].sizes[batch][0], *output_shape))
        first_size, second_size = output_sizes
    if any((a[:1], b[:1]) != (first_size[:1], second_size[:1]) for a, b in (value.sizes for value in inputs)):
        raise Unreadable("combines values of different numbers of examples")
    return first_size, second_size


def _is_float32(node: Node, inputs: Sequence[Value | None]) -> bool:
    """Return whether a node is a Cast of float32 to floats, whose output keeps the name of the weight."""
    x = inputs[0] if node.op == "Cast" and inputs else None
    return x is not None and x.tensors[0].dtype is torch.float32 and node.attributes.get("to") in FLOATS


def _is_repeated_per_example(x: Value | None, shape: Value | None) -> bool:
    """Return whether a constant is repeated for each example, and must therefore become a node."""
    return x is not None and x.is_float and shape is not None and shape.constant is None


def _outer_size(inputs: Sequence[Value], sizes: tuple[Sizes, Sizes]) -> int:
    """Return `Value.outer_size` of an output: the outer size of an input with as many rows per example, else 1."""
    changing = [a for a, b in zip(*sizes, strict=True) if a != b]
    for value in inputs:
        axis = value.batch_axis
        if axis is not None and value.outer_size > 1 and changing == [value.sizes[0][axis]]:
            return value.outer_size
    return 1


def _meta_output(layer: Layer, inputs: Sequence[Value], batch: int) -> Tensor:
    tensors = [value.tensors[batch].to("meta") for value in inputs]
    return layer.forward({}, tuple(tensors) if len(tensors) > 1 else tensors[0], Mode(keep=False))[0]


def _path(name: str) -> str:
    """Return a name of the file as a path: dots for slashes, and "_" for other characters than letters and digits."""
    words = (re.sub(r"[^A-Za-z0-9_~-]+", "_", word).strip("_") for word in re.split(r"[./]+", name[:200]))
    return ".".join(word for word in words if word) or "node"


def _missing_text(missing: Mapping[str, Sequence[str]]) -> str:
    """Return a text with every operator that has no layer, its number of nodes and the name of its first node."""
    descriptions = [
        f"{operator}, {plural(len(node_names), 'node')}, first {quoted(node_names[0])}"
        for operator, node_names in sorted(missing.items(), key=lambda item: -len(item[1]))
    ]
    return f"has no layer for {plural(len(missing), 'operator')}: {quoted('; '.join(descriptions), 2000)}"
