"""Quantized ONNX files (QDQ) as networks of floats: without rounding, but within the range of the integers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.opening.onnx_nodes.proto import keep_needed
from pellucid.weights.fault import FileFault, quoted

CLIP_INPUTS_OPSET = 11  # the first operator set in which the bounds of Clip are inputs


def without_quantization(onnx: Any, model: Any, opset: int, constants: dict[str, Tensor]) -> int:
    """Replace quantized weights of a model by floats, and quantized values by clipping; return their number.

    A QuantizeLinear with the DequantizeLinear after it becomes a Clip to the range of the integers, because the range
    may replace a ReLU. Others are left. constants: the file's constants by name, to which new ones are added.
    """
    graph = model.graph
    producers = {output: node for node in graph.node for output in node.output}
    nodes: list[Any] = []
    n_replaced = 0

    def add_constant(name: str, values: Tensor) -> str:
        constants[name] = values
        graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values.numpy()), name))
        return name

    for node in graph.node:
        nodes.append(node)
        if node.op_type != "DequantizeLinear" or node.domain not in ("", "ai.onnx"):
            continue
        source = node.input[0]
        output = node.output[0]
        quantizer = producers.get(source)
        if source in constants:
            nodes.pop()
            add_constant(output, _float_values(node, constants))
            n_replaced += 1
        elif quantizer is not None and quantizer.op_type == "QuantizeLinear":
            # onnxruntime's quantization removes a ReLU that the range of the integers replaces
            bounds = _bounds(quantizer, node, constants)
            if bounds is None:
                continue
            name = node.name or output
            if opset < CLIP_INPUTS_OPSET:
                low, high = (float(bound) for bound in bounds)
                nodes[-1] = onnx.helper.make_node("Clip", quantizer.input[:1], [output], name, min=low, max=high)
            else:
                names = [
                    add_constant(f"{output}.{end}", bound) for end, bound in zip(("low", "high"), bounds, strict=True)
                ]
                nodes[-1] = onnx.helper.make_node("Clip", [quantizer.input[0], *names], [output], name)
            n_replaced += 1
    if n_replaced:
        del graph.node[:]
        graph.node.extend(nodes)
        keep_needed(model, [graph_output.name for graph_output in graph.output])
    return n_replaced


def _float_values(node: Any, constants: Mapping[str, Tensor]) -> Tensor:
    """Return (q - zero) scale for a DequantizeLinear of a constant; scale and zero are numbers, or along one axis."""
    values, scale, zero = _quantization(node, constants)
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    if scale.numel() == 1:
        return (values.float() - zero.float().reshape(())) * scale.float().reshape(())
    if attributes.get("block_size", 0) or scale.dim() > 1:
        raise FileFault(f"quantizes {quoted(node.input[0])} in blocks", "export it without quantization")
    shape = [1] * values.dim()
    shape[attributes.get("axis", 1)] = -1
    return (values.float() - zero.float().reshape(shape)) * scale.float().reshape(shape)


def _bounds(quantizer: Any, node: Any, constants: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
    """Return the least and the largest value of quantized values; None unless both nodes have the same constants."""
    known = [set(one_node.input[1:]) <= constants.keys() for one_node in (quantizer, node)]
    attributes = {attribute.name for attribute in quantizer.attribute if attribute.i}
    if not all(known) or attributes & {"output_dtype", "block_size"}:
        return None
    _, scale, zero = _quantization(quantizer, constants)
    _, other_scale, other_zero = _quantization(node, constants)
    if scale.numel() > 1 or not torch.equal(scale, other_scale) or not torch.equal(zero, other_zero):
        return None
    limits = torch.iinfo(zero.dtype)
    low, high = ((limit - zero.float().reshape(())) * scale.float().reshape(()) for limit in (limits.min, limits.max))
    return low, high


def _quantization(node: Any, constants: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the quantized values if they are constant, the scale and the zero point of a node."""
    source, scale_name, *zero_name = node.input
    values = constants.get(source, torch.zeros((), dtype=torch.uint8))
    scale = constants[scale_name]
    zero = constants[zero_name[0]] if zero_name else torch.zeros_like(scale, dtype=values.dtype)
    return values, scale, zero
