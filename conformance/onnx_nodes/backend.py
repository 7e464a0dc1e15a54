"""An ONNX backend that computes operators with our layers, losses and optimizers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, numpy_helper
from onnx.backend.base import Backend, BackendRep
from torch import Tensor

from conformance.case import SkipCase
from conformance.onnx_nodes import (
    activations,
    convolutions,
    losses,
    normalizations,
    pooling,
    regions,
    resizing,
    shapes,
    training,
)
from conformance.onnx_nodes.operator import Operator
from pellucid.base.errors import PellucidError

OPERATORS: dict[str, Operator] = {
    **convolutions.OPERATORS,
    **pooling.OPERATORS,
    **regions.OPERATORS,
    **normalizations.OPERATORS,
    **resizing.OPERATORS,
    **activations.OPERATORS,
    **shapes.OPERATORS,
    **losses.OPERATORS,
    **training.OPERATORS,
}
CONSTANT = "Constant"  # the only operator that is not computed by a layer: its output is an attribute
# The integers that float64 represents exactly.
INTEGER_DTYPES = (torch.int8, torch.int16, torch.int32, torch.uint8, torch.uint16, torch.uint32)
KNOWN_DTYPES = (*INTEGER_DTYPES, torch.int64, torch.uint64, torch.bool, torch.float32, torch.float64)


class PellucidRep(BackendRep):
    """A model that runs its nodes in order, on the CPU."""

    def __init__(self, model: ModelProto) -> None:
        self.graph = model.graph
        self.versions = {entry.domain: entry.version for entry in model.opset_import}

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return the model's outputs as NumPy arrays; `inputs` are arrays in the order of the model's inputs.

        Raises SkipCase with the name of the operator, attribute, dtype or output that we do not have.
        """
        values: dict[str, Tensor | None] = {"": None}
        for initializer in self.graph.initializer:
            values[initializer.name] = tensor(numpy_helper.to_array(initializer))
        open_inputs = [one.name for one in self.graph.input if one.name not in values]
        values.update((name, tensor(value)) for name, value in zip(open_inputs, inputs, strict=True))
        for node in self.graph.node:
            results = run_node(node, [values[name] for name in node.input], self.versions.get(node.domain, 1))
            values.update(zip(node.output, results, strict=True))
        return tuple(_array(values[output.name]) for output in self.graph.output)


class PellucidBackend(Backend):
    """The backend: runs ONNX models and nodes with the operators in `OPERATORS`."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Return whether we have the operators of all nodes of the model."""
        nodes = [node for node in model.graph.node if node.op_type != CONSTANT]
        return cls.supports_device(device) and bool(nodes) and all(operator_of(node) is not None for node in nodes)

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> PellucidRep:
        """Return the model ready to run; raise onnx.checker.ValidationError for an invalid model."""
        super().prepare(model, device, **kwargs)
        return PellucidRep(model)

    @classmethod
    def run_node(
        cls, node: NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """Return the outputs of one node for NumPy arrays, in the operator set `opset_version` or the latest one."""
        super().run_node(node, inputs, device, outputs_info, **kwargs)
        remaining_inputs = iter(inputs)
        values = [tensor(next(remaining_inputs)) if name else None for name in node.input]
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        return tuple(_array(value) for value in run_node(node, values, version))

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Return whether the device is the CPU."""
        return device == "CPU"


def operator_of(node: NodeProto) -> Operator | None:
    """Return the operator that computes the node, or None if we do not have it."""
    operator = OPERATORS.get(node.op_type)
    return operator if operator is not None and operator.domain == node.domain else None


def subject_of(model: ModelProto) -> tuple[str, Any]:
    """Return the first operator type of a compatible model, and our class that the node checks.

    Raises PellucidError for a model without an operator that we have.
    """
    for node in model.graph.node:
        operator = operator_of(node)
        if operator is not None:
            return node.op_type, operator.subject_of(attributes_of(node))
    raise PellucidError(f"{model.graph.name}: no node is of an operator that we have; ask is_compatible first")


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Return the node's attributes by name, with bytes decoded to str."""
    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def run_node(node: NodeProto, inputs: Sequence[Tensor | None], version: int) -> tuple[Tensor | None, ...]:
    """Return the outputs that the node names; raise SkipCase for an operator, dtype or output that we do not have."""
    if node.op_type == CONSTANT:
        return (tensor(numpy_helper.to_array(attributes_of(node)["value"])),)
    operator = operator_of(node)
    if operator is None:
        raise SkipCase(f"operator {node.op_type}")
    operator = operator.at_version(version)
    dtype = None if inputs[0] is None else inputs[0].dtype
    if dtype in (torch.float32, torch.float64):
        return _outputs(operator, node, inputs)
    if not operator.moves or dtype not in INTEGER_DTYPES:
        raise SkipCase(f"dtype {str(dtype).removeprefix('torch.')}")
    float64_inputs = [x.double() if x is not None and x.dtype is dtype else x for x in inputs]
    return tuple(
        y.to(dtype) if y is not None and y.is_floating_point() else y for y in _outputs(operator, node, float64_inputs)
    )


def tensor(value: Any) -> Tensor:
    """Return a copy of a NumPy array as a tensor; raise SkipCase for other types and for unknown dtypes."""
    if not isinstance(value, np.ndarray | np.generic):
        raise SkipCase(f"type {'sequence' if isinstance(value, list) else type(value).__name__}")
    known_names = {str(dtype).removeprefix("torch.") for dtype in KNOWN_DTYPES}
    if value.dtype.name not in known_names:
        raise SkipCase(f"dtype {value.dtype.name}")
    return torch.tensor(np.asarray(value))


def _outputs(operator: Operator, node: NodeProto, inputs: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    with torch.no_grad():
        outputs = operator.adapt(*inputs, **attributes_of(node))
    if len(outputs) < len(node.output):
        raise SkipCase(f"output {len(outputs) + 1}")
    return outputs[: len(node.output)]


def _array(value: Tensor | None) -> Any:
    return None if value is None else value.numpy()
