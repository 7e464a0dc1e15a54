"""Execution of an ONNX graph node by node with PyTorch's functions, which PyTorch can differentiate.

onnxruntime computes no derivatives, and no convolutions in float64. It only checks the logits in float32.
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
    """Return the graph's first output; `values` are its inputs and weights by name.

    Raises KeyError for an operator that is not in _OPERATORS.
    """
    tensors = {entry.name: torch.tensor(onnx.numpy_helper.to_array(entry)) for entry in model.graph.initializer}
    tensors.update(values)
    for node in model.graph.node:
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        tensors[node.output[0]] = _OPERATORS[node.op_type]([tensors[name] for name in node.input], attributes)
    return tensors[model.graph.output[0].name]


def _conv(x: Sequence[Tensor], attributes: Attributes) -> Tensor:
    bias = x[2] if len(x) > 2 else None
    return functional.conv2d(
        _padded(x[0], attributes, 0.0), x[1], bias, attributes["strides"], groups=attributes.get("group", 1)
    )


def _max_pool(x: Sequence[Tensor], attributes: Attributes) -> Tensor:
    return functional.max_pool2d(
        _padded(x[0], attributes, float("-inf")), attributes["kernel_shape"], attributes["strides"]
    )


def _average_pool(x: Sequence[Tensor], attributes: Attributes) -> Tensor:
    """Average over the part of each window that lies in the image: the padding does not count."""

    def sums(one: Tensor) -> Tensor:
        padded = _padded(one, attributes, 0.0)
        return functional.avg_pool2d(padded, attributes["kernel_shape"], attributes["strides"], divisor_override=1)

    return sums(x[0]) / sums(torch.ones_like(x[0]))


def _padded(x: Tensor, attributes: Attributes, value: float) -> Tensor:
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    return functional.pad(x, (left, right, top, bottom), value=value)


def _gemm(x: Sequence[Tensor], attributes: Attributes) -> Tensor:
    return functional.linear(x[0], x[1] if attributes.get("transB") else x[1].T, x[2])


def _batch_norm(x: Sequence[Tensor], attributes: Attributes) -> Tensor:
    return functional.batch_norm(x[0], x[3], x[4], x[1], x[2], eps=attributes["epsilon"])


def _lrn(x: Sequence[Tensor], attributes: Attributes) -> Tensor:
    return functional.local_response_norm(
        x[0], attributes["size"], attributes["alpha"], attributes["beta"], attributes["bias"]
    )


def _reshape(x: Sequence[Tensor], attributes: Attributes) -> Tensor:
    sizes = [x[0].shape[axis] if size == 0 else size for axis, size in enumerate(x[1].tolist())]
    return x[0].reshape(sizes)


_OPERATORS: dict[str, Callable[[Sequence[Tensor], Attributes], Tensor]] = {
    "Conv": _conv,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda x, attributes: x[0].mean((2, 3), keepdim=True),
    "Gemm": _gemm,
    "BatchNormalization": _batch_norm,
    "LRN": _lrn,
    "Reshape": _reshape,
    "Relu": lambda x, attributes: functional.relu(x[0]),
    "Concat": lambda x, attributes: torch.cat(list(x), attributes["axis"]),
    "Sum": lambda x, attributes: torch.stack(list(x)).sum(0),
    "Dropout": lambda x, attributes: x[0],
}
