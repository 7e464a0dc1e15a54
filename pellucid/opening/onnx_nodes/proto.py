"""ONNX files: versions, conversion of nodes and tensors to and from plain values, and onnxruntime."""

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_ONNX_ARGUMENTS, MAX_ONNX_ENDS, MAX_ONNX_NODES
from pellucid.opening.onnx_nodes import Node
from pellucid.weights import onnxfile
from pellucid.weights.fault import FileFault, check_count, quoted

OPSET = 21  # operator set of exported files: the first in which GroupNormalization has a scale per channel
MIN_OPSET = 7  # the first operator set with the current rules for broadcasting
RECURRENT_OPS = ("LSTM", "GRU", "RNN")  # whose outputs other than the first have names that nothing may read
FLOAT = 1  # TensorProto.FLOAT
PRODUCER = "pellucid"  # the producer's name in exported files
IR_VERSION = 10  # version of exported files: the first in which nodes have metadata
LAYER_METADATA_KEY = "pellucid.layer"  # metadata key of a node's layer configuration


def import_optional(name: str) -> Any:
    """Import an optional package; raises PellucidError with the command that installs it if it is missing."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.split(".", 1)[0]:
            raise
        raise PellucidError(
            f"ONNX needs the package {error.name}, which is missing; pip install pellucid[export]"
        ) from error


def node_proto(onnx: Any, node: Node) -> Any:
    """Return a node as onnx.NodeProto."""
    proto = onnx.helper.make_node(node.op, node.inputs, node.outputs, name=node.name, **node.attributes)
    if node.layer_metadata:
        proto.metadata_props.add(key=LAYER_METADATA_KEY, value=node.layer_metadata)
    return proto


def _plain_value(value: Any) -> Any:
    """Return the value of an attribute with text for bytes and a list for any other sequence."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    is_message = hasattr(value, "DESCRIPTOR")  # a tensor or a graph
    return value if isinstance(value, str | int | float) or is_message else list(map(_plain_value, value))


def node_of(onnx: Any, proto: Any) -> Node:
    """Return an onnx.NodeProto as a Node; operators outside of the ONNX domain have their domain as prefix."""
    domain = "" if proto.domain in ("", "ai.onnx") else f"{proto.domain}."
    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in proto.attribute}
    attributes = {name: _plain_value(value) for name, value in values.items()}
    layer_metadata = [prop.value for prop in proto.metadata_props if prop.key == LAYER_METADATA_KEY]
    return Node(
        domain + proto.op_type,
        proto.name,
        tuple(proto.input),
        tuple(proto.output),
        attributes,
        "".join(layer_metadata[:1]),
    )


def read_proto(onnx: Any, path: Path) -> tuple[Any, int, dict[str, Tensor]]:
    """Return the checked model of a file, its operator set, and its initializers and Constant nodes as tensors by name.

    Functions, none of which has a layer, and nodes that the outputs do not need are left out. Raises FileFault if the
    model cannot be read, and the onnx package's own errors for a damaged file.
    """
    model = onnxfile.load(path)
    opset = _opset(onnx, model)
    _check_functions(model)
    del model.functions[:]
    if not any(
        node.metadata_props for node in model.graph.node
    ):  # layers in metadata are compared with all their nodes
        keep_needed(model, [output.name for output in model.graph.output])
    declare_outputs(model)
    onnx.checker.check_model(model)
    constants = {initializer.name: onnxfile.tensor_of(initializer) for initializer in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and not node.domain:
            constants[node.output[0]] = _constant(onnx, node)
    return model, opset, constants


def declare_outputs(model: Any) -> None:
    """Give outputs without a type or shape an empty one, which the checker of the onnx package requires."""
    for output in model.graph.output:
        if not output.type.WhichOneof("value"):
            output.type.tensor_type.elem_type = FLOAT
        if output.type.WhichOneof("value") == "tensor_type":
            output.type.tensor_type.shape.SetInParent()


def keep_needed(model: Any, outputs: Iterable[str]) -> None:
    """Delete all nodes and initializers of a model that these outputs do not need, and names that none of them reads.

    Such are the last states of recurrent nodes, which PyTorch's export names always.
    """
    graph = model.graph
    needed_names = set(outputs)
    nodes = list[Any]()
    for node in reversed(graph.node):
        if not needed_names.isdisjoint(node.output):
            nodes.append(node)
            if node.op_type in RECURRENT_OPS:
                node.output[:] = [name if name in needed_names else "" for name in node.output]
            needed_names.update(names_read(node))
    if len(nodes) < len(graph.node):
        del graph.node[:]
        graph.node.extend(reversed(nodes))
    unused_names = {initializer.name for initializer in graph.initializer} - needed_names
    if unused_names:
        # Files before IR version 4 list their initializers among the inputs too.
        for values in (graph.initializer, graph.input):
            needed = [value_info for value_info in values if value_info.name not in unused_names]
            del values[:]
            values.extend(needed)


def _check_functions(model: Any) -> None:
    """Raise FileFault if a function of the file replaces an operator of ONNX."""
    for function in model.functions:
        if function.domain in ("", "ai.onnx"):
            raise FileFault(f"defines the operator {quoted(function.name)} of ONNX by a function of its own")


def names_read(node: Any) -> Iterator[str]:
    """Yield the names of the values that a node reads, also those that its subgraphs read from outside."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner_node in graph.node:
                yield from names_read(inner_node)
            yield from (output.name for output in graph.output)


def _opset(onnx: Any, model: Any) -> int:
    """Return the operator set; raises FileFault for an unsupported operator set and for too many nodes or values."""
    graph = model.graph
    newest_opset = onnx.defs.onnx_opset_version()
    versions = [opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")]
    if len(versions) != 1 or not MIN_OPSET <= versions[0] <= newest_opset:
        found_opsets = ", ".join(map(str, versions)) or "no version"
        raise FileFault(f"uses operator set {found_opsets}", f"export it with opset {MIN_OPSET} to {newest_opset}")
    check_count("nodes", len(graph.node), MAX_ONNX_NODES)
    check_count("inputs of nodes", sum(len(node.input) for node in graph.node), MAX_ONNX_ARGUMENTS)
    initializers = {initializer.name for initializer in graph.initializer}
    check_count("inputs", sum(graph_input.name not in initializers for graph_input in graph.input), MAX_ONNX_ENDS)
    check_count("outputs", len(graph.output), MAX_ONNX_ENDS)
    return versions[0]


def _constant(onnx: Any, node: Any) -> Tensor:
    """Return the value of a Constant node; raises FileFault if it is not a tensor."""
    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    name, value = next(iter(values.items()), ("", None))
    if len(values) != 1 or name not in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        raise FileFault(f"has a constant {quoted(node.name)} that is not a tensor", "export it as an initializer")
    if name == "value":
        return onnxfile.tensor_of(value)
    return torch.tensor(value, dtype=torch.float32 if "float" in name else torch.int64)


def run_file(data: bytes, xs: Mapping[str, Tensor]) -> list[Tensor]:
    """Return onnxruntime's outputs for inputs by name."""
    return [torch.from_numpy(y) for y in session(data).run(None, {name: x.numpy() for name, x in xs.items()})]


def session(data: bytes) -> Any:
    """Return an onnxruntime session for a file's bytes, on the CPU with as many threads as PyTorch uses."""
    runtime = import_optional("onnxruntime")
    return runtime.InferenceSession(data, session_options(), providers=["CPUExecutionProvider"])


def session_options() -> Any:
    """Return the options of an onnxruntime session with as many threads as PyTorch uses."""
    options = import_optional("onnxruntime").SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # only fatal errors are logged; other errors are raised
    return options
