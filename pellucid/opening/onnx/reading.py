"""An ONNX node while it is converted to a layer: attributes, constants and input shapes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Shape
from pellucid.onnx_nodes import Node


class Unreadable(Exception):  # noqa: N818 - it becomes an error with the file's name
    """A node that no layer implements; the message gives the reason."""


@dataclass(frozen=True, eq=False)
class ReadLayer:
    """The layer that implements a node, its inputs' names, its parameters by path, and their names in the file."""

    layer: Layer
    inputs: tuple[str, ...]
    params: Mapping[str, Tensor] = field(default_factory=dict)
    names: tuple[str, ...] = ()


class NodeReading:
    """A node while it is converted. Every attribute must be read by `take`, so that none is ignored."""

    def __init__(self, node: Node, constants: Mapping[str, Tensor], shapes: Mapping[str, Shape]) -> None:
        self.node = node
        self.constants = constants
        self.shapes = shapes
        self.attributes = dict(node.attributes)
        self.names: list[str] = []

    @property
    def flowing(self) -> tuple[str, ...]:
        """The names of the inputs that are not constants."""
        return tuple(name for name in self.node.inputs if name in self.shapes)

    @property
    def shape(self) -> Shape:
        """The shape of the first input, without the batch axis; raises Unreadable if it is a constant."""
        name = self.node.inputs[0] if self.node.inputs else ""
        if name not in self.shapes:
            raise Unreadable("has a constant as its first input")
        return self.shapes[name]

    def take(self, name: str, default: Any) -> Any:
        """Return an attribute, and mark it as read."""
        return self.attributes.pop(name, default)

    def only(self, **values: Any) -> None:
        """Raise Unreadable unless each attribute is missing or has this value, its default."""
        for name, value in values.items():
            found = self.take(name, value)
            if found != value:
                raise Unreadable(f"has {name}={found!r}")

    def pair(self, name: str, default: int) -> tuple[int, int]:
        """Return an attribute with a value for height and one for width."""
        values = self.take(name, [default, default])
        if len(values) != 2:
            raise Unreadable(f"has {name} for {len(values)} axes, not for height and width")
        return values[0], values[1]

    def has_input(self, index: int) -> bool:
        """Return whether the input at this index exists."""
        return index < len(self.node.inputs) and self.node.inputs[index] != ""

    def constant(self, index: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the constant input at this index; raises Unreadable if it is computed or has another dtype."""
        name = self.node.inputs[index] if self.has_input(index) else ""
        if name not in self.constants:
            raise Unreadable(f"needs a constant as its input {index + 1}")
        found = self.constants[name]
        if found.dtype != dtype:
            name = str(found.dtype).removeprefix("torch.")
            raise Unreadable(f"has a constant of dtype {name} as its input {index + 1}")
        return found

    def param(self, index: int) -> Tensor:
        """Return the constant input at this index as a parameter, and add its name to `names`."""
        found = self.constant(index)
        self.names.append(self.node.inputs[index])
        return found

    def integers(self, index: int) -> list[int]:
        """Return the constant list of integers at this index."""
        found = self.constant(index, torch.int64)
        if found.dim() != 1:
            raise Unreadable(f"needs a list as its input {index + 1}")
        return found.tolist()

    def number(self, index: int, default: float) -> float:
        """Return the constant number at this index, or the default if the input is missing."""
        if not self.has_input(index):
            return default
        found = self.constant(index)
        if found.numel() != 1:
            raise Unreadable(f"has {found.numel()} values as its input {index + 1}, not one")
        return plain(found.item())

    def layer(self, layer: Layer, **params: Tensor) -> ReadLayer:
        """Return a layer with one input, and its parameters."""
        _ = self.shape  # the first input must be computed
        return ReadLayer(layer, self.node.inputs[:1], params, tuple(self.names))

    def merged(self, layer: Layer) -> ReadLayer:
        """Return a layer with several inputs; raises Unreadable if one is a constant."""
        if self.flowing != self.node.inputs:
            raise Unreadable("has a constant among its inputs")
        return ReadLayer(layer, self.node.inputs)


def plain(value: float) -> float:
    """Return the shortest decimal number that float32 rounds to `value`: 0.1 for 0.10000000149."""
    return float(str(torch.tensor(value, dtype=torch.float32).numpy()))


def single_or_pair(values: tuple[int, int]) -> int | tuple[int, int]:
    """Return a single number if both are equal, else the pair."""
    return values[0] if values[0] == values[1] else values


def edges(pads: list[int]) -> tuple[int, int, int, int]:
    """Return (left, right, top, bottom) for ONNX's pads [top, left, bottom, right]."""
    if len(pads) != 4:
        raise Unreadable("has pads for other axes than height and width")
    top, left, bottom, right = pads
    return left, right, top, bottom


def even(pads: list[int]) -> int | tuple[int, int]:
    """Return the padding for height and width; raises Unreadable for asymmetric padding."""
    left, right, top, bottom = edges(pads)
    if (left, top) != (right, bottom):
        raise Unreadable("has asymmetric pads")
    return single_or_pair((top, left))
