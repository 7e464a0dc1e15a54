"""ONNX files: supported versions, conversion of nodes and tensors to and from plain values, and onnxruntime."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.onnx_nodes import Node
from pellucid.weights import onnxfile
from pellucid.weights.fault import FileFault, quoted

OPSET = 21  # the first in which GroupNormalization has a scale per channel
MIN_OPSET = 13  # the first with the current definitions of Softmax and Dropout
IR_VERSION = 10  # the first in which nodes have metadata
MAX_BYTES = (2 << 30) - 1  # size limit of a Protocol Buffers file
MAX_NODES = 10_000
LAYER_METADATA_KEY = "pellucid.layer"  # metadata key of a node's layer configuration


def optional(name: str) -> Any:
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


def node_of(onnx: Any, proto: Any) -> Node:
    """Return an onnx.NodeProto as a Node; operators outside of the ONNX domain have their domain as prefix."""
    domain = "" if proto.domain in ("", "ai.onnx") else f"{proto.domain}."
    values = {each.name: onnx.helper.get_attribute_value(each) for each in proto.attribute}
    attributes = {
        name: value.decode("utf-8", "replace")
        if isinstance(value, bytes)
        else value
        if isinstance(value, str | int | float)
        else list(value)
        for name, value in values.items()
    }
    layer_metadata = [each.value for each in proto.metadata_props if each.key == LAYER_METADATA_KEY]
    return Node(
        domain + proto.op_type,
        proto.name,
        tuple(proto.input),
        tuple(proto.output),
        attributes,
        "".join(layer_metadata[:1]),
    )


def read_proto(onnx: Any, path: Path) -> tuple[Any, dict[str, Tensor]]:
    """Return the checked model of a file, and its constants by name.

    Raises Fault if the model cannot be imported, and the onnx package's own errors for a damaged file.
    """
    model = onnxfile.load(path)
    _check(model)
    onnx.checker.check_model(model)
    protos = {each.name: each for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and not node.domain:
            value = next((each.t for each in node.attribute if each.name == "value"), None)
            if value is None:
                raise FileFault(
                    f"has a constant {quoted(node.name)} that is not a tensor", "export it as an initializer"
                )
            protos[node.output[0]] = value
    return model, {name: _tensor(tensor) for name, tensor in protos.items()}


def _check(model: Any) -> None:
    """Raise Fault for an unsupported version or too many nodes, before the rest of the model is read."""
    graph = model.graph
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if len(versions) != 1 or not MIN_OPSET <= versions[0] <= OPSET:
        found = ", ".join(map(str, versions)) or "no version"
        raise FileFault(f"uses operator set {found}", f"export it with opset {MIN_OPSET} to {OPSET}")
    if len(graph.node) > MAX_NODES:
        raise FileFault(f"has {len(graph.node)} nodes, above the limit of {MAX_NODES}")


def _tensor(proto: Any) -> Tensor:
    found = onnxfile.tensor_of(proto)
    if found.dtype == torch.bfloat16:
        raise FileFault(f"contains {quoted(proto.name)} in bfloat16, which is not supported", "export it in float32")
    return found


def run_file(data: bytes, xs: Mapping[str, Tensor]) -> list[Tensor]:
    """Return onnxruntime's outputs for inputs by name."""
    runtime = optional("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # errors are raised
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(y) for y in session.run(None, {name: x.numpy() for name, x in xs.items()})]
