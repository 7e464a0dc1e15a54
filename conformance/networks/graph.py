"""An ONNX graph run node by node with PyTorch's functions, which PyTorch can differentiate.

It is ONNX's own graph, but these are not ONNX's kernels: onnxruntime, which has no derivatives and no convolutions in
float64, says beside it what the graph means.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx import ModelProto
from torch import Tensor
from torch.nn import functional

Attributes = Mapping[str, Any]


def run(model: ModelProto, values: Mapping[str, Tensor]) -> Tensor:
    """Return the first output for inputs and weights by name.

    Raises KeyError for an operator that these graphs do not have.
    """
    held = {one.name: torch.tensor(onnx.numpy_helper.to_array(one)) for one in model.graph.initializer}
    held.update(values)
    for node in model.graph.node:
        has = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        held[node.output[0]] = _OPERATORS[node.op_type]([held[name] for name in node.input], has)
    return held[model.graph.output[0].name]


def _conv(x: Sequence[Tensor], has: Attributes) -> Tensor:
    bias = x[2] if len(x) > 2 else None
    return functional.conv2d(_padded(x[0], has, 0.0), x[1], bias, has["strides"], groups=has.get("group", 1))


def _max_pool(x: Sequence[Tensor], has: Attributes) -> Tensor:
    return functional.max_pool2d(_padded(x[0], has, float("-inf")), has["kernel_shape"], has["strides"])


def _average_pool(x: Sequence[Tensor], has: Attributes) -> Tensor:
    """Average what lies in the image: zeros around it do not count."""

    def sums(one: Tensor) -> Tensor:
        padded = _padded(one, has, 0.0)
        return functional.avg_pool2d(padded, has["kernel_shape"], has["strides"], divisor_override=1)

    return sums(x[0]) / sums(torch.ones_like(x[0]))


def _padded(x: Tensor, has: Attributes, value: float) -> Tensor:
    top, left, bottom, right = has.get("pads", (0, 0, 0, 0))
    return functional.pad(x, (left, right, top, bottom), value=value)


def _gemm(x: Sequence[Tensor], has: Attributes) -> Tensor:
    return functional.linear(x[0], x[1] if has.get("transB") else x[1].T, x[2])


def _batch_norm(x: Sequence[Tensor], has: Attributes) -> Tensor:
    return functional.batch_norm(x[0], x[3], x[4], x[1], x[2], eps=has["epsilon"])


def _lrn(x: Sequence[Tensor], has: Attributes) -> Tensor:
    return functional.local_response_norm(x[0], has["size"], has["alpha"], has["beta"], has["bias"])


def _reshape(x: Sequence[Tensor], has: Attributes) -> Tensor:
    sizes = [x[0].shape[axis] if size == 0 else size for axis, size in enumerate(x[1].tolist())]
    return x[0].reshape(sizes)


_OPERATORS: dict[str, Callable[[Sequence[Tensor], Attributes], Tensor]] = {
    "Conv": _conv,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda x, has: x[0].mean((2, 3), keepdim=True),
    "Gemm": _gemm,
    "BatchNormalization": _batch_norm,
    "LRN": _lrn,
    "Reshape": _reshape,
    "Relu": lambda x, has: functional.relu(x[0]),
    "Concat": lambda x, has: torch.cat(list(x), has["axis"]),
    "Sum": lambda x, has: torch.stack(list(x)).sum(0),
    "Dropout": lambda x, has: x[0],
}
