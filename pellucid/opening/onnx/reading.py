"""Access to the attributes and inputs of an ONNX node, and addition of the layers to which it is converted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Shape
from pellucid.opening.onnx.values import Sizes, Unreadable, Value
from pellucid.opening.onnx_nodes import Node


class Emit(Protocol):
    """A function that adds a node to the network, and returns its output.

    name_suffix: of the node; "" for the last of the nodes to which an ONNX node is converted. with_network_input:
    whether the layer needs an additional last input, from which it reads the number of examples.
    """

    def __call__(
        self, layer: Layer, inputs: Sequence[Value], params: Mapping[str, Value], name_suffix: str = "",
        with_network_input: bool = False,
    ) -> Value:  # fmt: skip
        """Add the node."""
        ...


@dataclass(frozen=True)
class GraphContext:
    """The properties of the graph that the conversion of a node needs."""

    onnx: Any  # the package
    opset: int  # the version of the operator set
    batch: int | None  # the file's batch size, None for any
    emit: Emit  # adds a node to the network


class NodeReading:
    """A node that is being converted. Every attribute must be read with `attribute`, so that none is ignored."""

    def __init__(self, node: Node, inputs: Sequence[Value | None], context: GraphContext) -> None:
        self.node = node
        self.inputs = inputs
        self.context = context
        self.attributes = dict(node.attributes)

    @property
    def opset(self) -> int:
        """The version of the operator set."""
        return self.context.opset

    def value(self, index: int) -> Value:
        """Return the input at this index; raises Unreadable if it is missing."""
        input_value = self.inputs[index] if index < len(self.inputs) else None
        if input_value is None:
            raise Unreadable(f"has no input {index + 1}")
        return input_value

    @property
    def x(self) -> Value:
        """The first input."""
        return self.value(0)

    @property
    def input_values(self) -> list[Value]:
        """All inputs."""
        return [self.value(index) for index in range(len(self.inputs))]

    @property
    def shape(self) -> Shape:
        """The shape of the first input without its first axis; raises Unreadable for a 0-d input."""
        if not self.x.rank:
            raise Unreadable("has a number as its first input")
        return self.x.sizes[0][1:]

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute, and mark it as read."""
        return self.attributes.pop(name, default)

    def check_attributes(self, **values: Any) -> None:
        """Raise Unreadable unless each attribute is missing or has this value, its default."""
        for name, value in values.items():
            attribute = self.attribute(name, value)
            if attribute != value:
                raise Unreadable(f"has {name}={attribute!r}")

    def pair(self, name: str, default: int) -> tuple[int, int]:
        """Return an attribute as (height, width); raises Unreadable for another number of values."""
        values = self.attribute(name, [default, default])
        if len(values) != 2:
            raise Unreadable(f"has {name} for {len(values)} axes, not for height and width")
        return values[0], values[1]

    def has_input(self, index: int) -> bool:
        """Return whether the input at this index exists."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def constant(self, index: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the constant input at this index; raises Unreadable if it is computed or has another dtype."""
        tensor = self.value(index).constant if self.has_input(index) else None
        if tensor is None:
            raise Unreadable(f"needs a constant as its input {index + 1}")
        if tensor.dtype != dtype:
            name = str(tensor.dtype).removeprefix("torch.")
            raise Unreadable(f"has a constant of dtype {name} as its input {index + 1}")
        return tensor

    def param(self, index: int) -> Value:
        """Return the constant input at this index as a parameter."""
        self.constant(index)
        return self.value(index)

    def bias(self, index: int) -> dict[str, Value]:
        """Return {"bias": the parameter at this index}, or an empty dict if the input is missing."""
        return {"bias": self.param(index)} if self.has_input(index) else {}

    def integers(self, index: int) -> list[int]:
        """Return the constant list of integers at this index."""
        return _to_list(self.constant(index, torch.int64), index)

    def sizes(self, index: int) -> tuple[list[int], list[int]]:
        """Return the known list of integers at this index, for both BATCH_SIZES; raises Unreadable for other inputs."""
        value = self.value(index)
        if not value.is_known or value.tensors[0].dtype != torch.int64:
            raise Unreadable(f"needs a known list of integers as its input {index + 1}")
        first, second = (_to_list(tensor, index) for tensor in value.tensors)
        return first, second

    def integer_list(self, name: str, index: int, default: list[int] | None = None) -> list[int] | None:
        """Return a list of integers: an attribute in older operator sets, the input at this index in newer ones."""
        attribute = self.attribute(name, None)
        if attribute is not None:
            return attribute
        return self.integers(index) if self.has_input(index) else default

    def number(self, index: int, default: float) -> float:
        """Return the constant number at this index, or the default if the input is missing."""
        if not self.has_input(index):
            return default
        tensor = self.constant(index)
        if tensor.numel() != 1:
            raise Unreadable(f"has {tensor.numel()} values as its input {index + 1}, not one")
        return shortest_decimal(tensor.item())

    def axes(self, axes: Sequence[int] | None, rank: int | None = None) -> tuple[int, ...]:
        """Return axes as nonnegative indices in ascending order; all axes for None and for an empty list."""
        n_axes = self.x.rank if rank is None else rank
        if any(not -n_axes <= axis < n_axes for axis in axes or ()):
            raise Unreadable(f"has the axes {list(axes or ())} for {n_axes} axes")
        return tuple(sorted(axis % n_axes for axis in axes)) if axes else tuple(range(n_axes))

    def axis(self, default: int) -> int:
        """Return the attribute "axis" as a nonnegative index."""
        return self.axes([self.attribute("axis", default)])[0]

    def layer(self, layer: Layer, *inputs: Value, **params: Value) -> Value:
        """Add the last layer of this node to the network; without `inputs`, it receives the node's first input."""
        return self.context.emit(layer, inputs or (self.x,), params)

    def inner(self, name_suffix: str, layer: Layer, *inputs: Value, **params: Value) -> Value:
        """Add a layer of this node before its last layer, with a suffix of its name."""
        return self.context.emit(layer, inputs or (self.x,), params, name_suffix)


Reader = Callable[[NodeReading], Any]  # from a node to its output, or to the tuple of its outputs


def derived_constant(value: Value, derivation: str, tensor: Tensor) -> Value:
    """Return a constant that is computed from the constant `value`, and is learned if `value` is."""
    return replace(value, tensors=(tensor, tensor), derivation=value.derivation + derivation)


def free_batch_shape(sizes: tuple[Sizes, Sizes]) -> tuple[int, ...]:
    """Return a shape with -1 for the size that depends on the number of examples; raises Unreadable for several."""
    shape = tuple(a if a == b else -1 for a, b in zip(*sizes, strict=True))
    if shape.count(-1) > 1:
        raise Unreadable("has several sizes that depend on the number of examples")
    return shape


def shortest_decimal(value: float) -> float:
    """Return the shortest decimal number that float32 rounds to `value`: 0.1 for 0.10000000149."""
    return float(str(torch.tensor(value, dtype=torch.float32).numpy()))


def single_or_pair(values: tuple[int, int]) -> int | tuple[int, int]:
    """Return a single number if the two values are equal, else the pair."""
    return values[0] if values[0] == values[1] else values


def edges(pads: Sequence[int]) -> tuple[int, int, int, int]:
    """Return (left, right, top, bottom) for ONNX's pads [top, left, bottom, right]."""
    if len(pads) != 4:
        raise Unreadable("has pads for other axes than height and width")
    top, left, bottom, right = pads
    return left, right, top, bottom


def _to_list(tensor: Tensor, index: int) -> list[int]:
    if tensor.dim() != 1:
        raise Unreadable(f"needs a list as its input {index + 1}")
    return tensor.tolist()
