"""Constant folding: nodes whose inputs are known are computed with the onnx package's reference implementation."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.base.limits import MAX_ONNX_CONSTANTS
from pellucid.opening.onnx.values import Unreadable, Value
from pellucid.weights.fault import FileFault

_BROADCASTING_OPS = (
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Or",
    "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip
_SHRINKING_OPS = (  # the result has at most as many values as the inputs together
    "Abs", "Cast", "Ceil", "Concat", "Cos", "CumSum", "Erf", "Exp", "Flatten", "Floor", "Identity", "Log", "Neg",
    "Not", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape",
    "Round", "ScatterND", "Sigmoid", "Sign", "Sin", "Slice", "Split", "Sqrt", "Squeeze", "Transpose", "Trilu",
    "Unsqueeze",
)  # fmt: skip
HALF_DTYPES = (torch.float16, torch.bfloat16)
FOLDED_OPS = {*_BROADCASTING_OPS, *_SHRINKING_OPS, "ConstantOfShape", "Expand", "Gather", "NonZero", "Range", "Tile"}
RESHAPING_OPS = (
    "Flatten",
    "Identity",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)  # their output is learned if their input is


# The reference implementation covers all operator sets, and shape arithmetic is not implemented a second time.
class Folding:
    """Computation of nodes with known inputs, within a limit on the number of values."""

    def __init__(self, onnx: Any, opset: int) -> None:
        self.onnx = onnx
        self.opset = opset
        self.values_left = MAX_ONNX_CONSTANTS

    def fold(self, proto: Any, inputs: Sequence[Value | None]) -> list[Value]:
        """Return the outputs of a node whose inputs are all known, with 16-bit floats as float32.

        Raises FileFault if all folded nodes together compute more than MAX_ONNX_CONSTANTS values.
        """
        first, second = (self._run(proto, [value and value.tensors[batch] for value in inputs]) for batch in (0, 1))
        first_input = next((value for value in inputs if value is not None), None)
        keeps_key = first_input is not None and first_input.key and proto.op_type in RESHAPING_OPS
        key = ""
        derivation = ""
        if first_input is not None and keeps_key:
            key = first_input.key
            derivation = f"{first_input.derivation}.{proto.op_type}"
        return [Value(pair, key=key, derivation=derivation) for pair in zip(first, second, strict=True)]

    def _run(self, proto: Any, tensors: list[Tensor | None]) -> list[Tensor]:
        arrays = {name: tensor.numpy() for name, tensor in zip(proto.input, tensors, strict=True) if tensor is not None}
        self.values_left -= _max_output_values(proto, [tensor for tensor in tensors if tensor is not None])
        if self.values_left < 0:
            raise FileFault(
                f"computes more than {MAX_ONNX_CONSTANTS:,} values before any input", "export a smaller network"
            )
        outputs = run_reference(self.onnx, proto, arrays, self.opset)
        return [to_float32(torch.from_numpy(np.ascontiguousarray(y).copy().reshape(np.shape(y)))) for y in outputs]


def to_float32(tensor: Tensor) -> Tensor:
    """Return a tensor of 16-bit floats in float32, and other tensors unchanged."""
    return tensor.float() if tensor.dtype in HALF_DTYPES else tensor


def run_reference(onnx: Any, proto: Any, arrays: dict[str, Any], opset: int) -> list[Any]:
    """Return the outputs of a node, computed with the onnx package's reference implementation."""
    from onnx.reference import ReferenceEvaluator

    helper = onnx.helper
    any_type = onnx.TypeProto()
    inputs = [helper.make_value_info(name, any_type) for name in dict.fromkeys(proto.input) if name]
    outputs = [helper.make_value_info(name, any_type) for name in proto.output if name]
    graph = helper.make_graph([proto], "node", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    with np.errstate(all="ignore"):
        return list(ReferenceEvaluator(model).run(None, arrays))


def _max_output_values(proto: Any, tensors: list[Tensor]) -> int:
    """Return an upper bound of the number of values in a node's outputs; raises Unreadable for invalid sizes."""
    op = proto.op_type
    total = sum(tensor.numel() for tensor in tensors)
    try:
        if op in _BROADCASTING_OPS:
            return math.prod(np.broadcast_shapes(*(tensor.shape for tensor in tensors)))
        if op in ("ConstantOfShape", "Expand", "Tile"):
            sizes = tuple(max(int(size), 1) for size in tensors[-1].flatten().tolist())
            if op == "Expand":
                return math.prod(np.broadcast_shapes(tensors[0].shape, sizes))
            return math.prod(sizes) * (1 if op == "ConstantOfShape" else tensors[0].numel())
        if op == "Range":
            start, limit, step = (float(tensor) for tensor in tensors)
            return max(math.ceil((limit - start) / step), 0)
        if op == "Gather":
            axis = next((attribute.i for attribute in proto.attribute if attribute.name == "axis"), 0)
            return tensors[0].numel() // max(tensors[0].shape[axis], 1) * tensors[1].numel()
        return total * max((tensor.dim() for tensor in tensors), default=1) if op == "NonZero" else total
    except (ArithmeticError, LookupError, ValueError, RuntimeError) as error:
        raise Unreadable(f"has invalid sizes ({error})") from error
