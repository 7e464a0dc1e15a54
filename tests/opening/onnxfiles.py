"""Writing of small ONNX files for tests, with the helpers of the onnx package."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def node(op: str, inputs: Sequence[str], outputs: Sequence[str] | str, **attributes: Any) -> Any:
    """Return an ONNX node, by default named after its first output."""
    names = [outputs] if isinstance(outputs, str) else list(outputs)
    return helper.make_node(op, list(inputs), names, name=attributes.pop("name", names[0]), **attributes)


def write(
    path: Path, nodes: Sequence[Any], shapes: Mapping[str, Sequence[Any]] | Sequence[Any],
    constants: Mapping[str, Any] | None = None, outputs: Sequence[str] = ("y",), opset: int = 21,
    kind: int = TensorProto.FLOAT,
) -> Path:  # fmt: skip
    """Write a file and return its path; the inputs of dtype `kind` are "x" or, if `shapes` is a mapping, its keys."""
    inputs = shapes if isinstance(shapes, Mapping) else {"x": shapes}
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, shape in inputs.items()],
        [helper.make_value_info(name, helper.make_tensor_type_proto(TensorProto.FLOAT, None)) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=min(10, onnx.IR_VERSION))
    with contextlib.suppress(onnx.shape_inference.InferenceError):
        model = onnx.shape_inference.infer_shapes(model)
    for each in model.graph.output:
        if not each.type.tensor_type.HasField("shape"):
            rank = len(next(iter(inputs.values())))
            each.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, [None] * rank))
    del model.graph.value_info[:]
    path.write_bytes(model.SerializeToString())
    return path


def f32(*shape: int, seed: int = 0) -> Any:
    """Return an array of normally distributed float32 values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def i64(*values: int) -> Any:
    """Return an array of int64 values."""
    return np.array(values, dtype=np.int64)
