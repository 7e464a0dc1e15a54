"""Nodes with inputs that are known before the network runs, computed by the onnx package's reference."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.opening.onnx.values import Unreadable, Value
from pellucid.weights.fault import FileFault

MAX_FOLDED = 1 << 24  # values of all results together
_BROADCAST = (
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Or",
    "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip
_NOT_LARGER = (  # the result has at most as many values as the inputs together
    "Abs", "Cast", "Ceil", "Concat", "Cos", "CumSum", "Erf", "Exp", "Flatten", "Floor", "Identity", "Log", "Neg",
    "Not", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape",
    "Round", "ScatterND", "Sigmoid", "Sign", "Sin", "Slice", "Split", "Sqrt", "Squeeze", "Transpose", "Trilu",
    "Unsqueeze",
)  # fmt: skip
HALVES = (torch.float16, torch.bfloat16)
FOLDED = {*_BROADCAST, *_NOT_LARGER, "ConstantOfShape", "Expand", "Gather", "NonZero", "Range", "Tile"}
SAME_VALUES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")  # what is learned stays learned


class Folding:
    """Computes nodes with known inputs, within a limit on the number of values."""

    def __init__(self, onnx: Any, opset: int) -> None:
        self.onnx, self.opset = onnx, opset
        self.left = MAX_FOLDED

    def fold(self, proto: Any, inputs: Sequence[Value | None]) -> list[Value]:
        """Return the outputs of a node for inputs that are all known; floats of 16 bits become float32."""
        first, second = (self._run(proto, [one and one.tensors[batch] for one in inputs]) for batch in (0, 1))
        learned = next((one for one in inputs if one is not None), None)
        keeps = learned is not None and learned.key and proto.op_type in SAME_VALUES
        key, form = (learned.key, f"{learned.form}.{proto.op_type}") if learned is not None and keeps else ("", "")
        return [Value(pair, key=key, form=form) for pair in zip(first, second, strict=True)]

    def _run(self, proto: Any, tensors: list[Tensor | None]) -> list[Tensor]:
        arrays = {name: tensor.numpy() for name, tensor in zip(proto.input, tensors, strict=True) if tensor is not None}
        self.left -= _count(proto, [tensor for tensor in tensors if tensor is not None])
        if self.left < 0:
            raise FileFault(f"computes more than {MAX_FOLDED:,} values before any input", "export a smaller network")
        outputs = reference(self.onnx, proto, arrays, self.opset)
        return [widened(torch.from_numpy(np.ascontiguousarray(one).copy().reshape(np.shape(one)))) for one in outputs]


def widened(tensor: Tensor) -> Tensor:
    """Return floats of 16 bits in float32, other tensors unchanged."""
    return tensor.float() if tensor.dtype in HALVES else tensor


def reference(onnx: Any, proto: Any, arrays: dict[str, Any], opset: int) -> list[Any]:
    """Return the outputs of a node by the reference implementation of the onnx package."""
    from onnx.reference import ReferenceEvaluator

    helper = onnx.helper
    values = [[helper.make_value_info(name, onnx.TypeProto()) for name in names if name] for names in (
        list(dict.fromkeys(proto.input)), proto.output)]  # fmt: skip
    graph = helper.make_graph([proto], "node", *values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    with np.errstate(all="ignore"):
        return list(ReferenceEvaluator(model).run(None, arrays))


def _count(proto: Any, tensors: list[Tensor]) -> int:
    """Return an upper bound of the number of values in the outputs."""
    op, total = proto.op_type, sum(tensor.numel() for tensor in tensors)
    try:
        if op in _BROADCAST:
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
            axis = next((one.i for one in proto.attribute if one.name == "axis"), 0)
            return tensors[0].numel() // max(tensors[0].shape[axis], 1) * tensors[1].numel()
        return total * max((tensor.dim() for tensor in tensors), default=1) if op == "NonZero" else total
    except (ArithmeticError, LookupError, ValueError, RuntimeError) as error:
        raise Unreadable(f"has invalid sizes ({error})") from error
