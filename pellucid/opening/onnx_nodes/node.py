"""ONNX nodes as plain values, and the builder of a layer's nodes."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import join
from pellucid.extend.config import to_config
from pellucid.layers.base import Shape
from pellucid.network.traced import TracedLayer


@dataclass(frozen=True)
class Node:
    """One node of an ONNX graph."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    layer_metadata: str = ""  # the layer's configuration, if the import cannot find the layer without it


class Nodes:
    """The nodes of one run of a layer, and the constants that they use.

    A layer's function adds nodes by `inner`, and the node with the layer's output by `last`. Inputs of nodes are names:
    `x` (or `sources` for several), parameters from `param`, and constants from `constant`, `integers` and `number`.
    """

    def __init__(self, layer_run: TracedLayer, is_built_in: bool = True) -> None:
        self.layer_run = layer_run
        self.built_in = is_built_in  # whether the layer's class is Pellucid's own, so the import can build it
        self.written: list[Node] = []
        self.needs_metadata = False  # whether the import cannot identify the layer from its single node
        self.constants: dict[str, Tensor] = {}

    @property
    def x(self) -> str:
        """The name of the layer's first input."""
        return self.layer_run.inputs[0].name

    @property
    def sources(self) -> list[str]:
        """The names of all inputs of the layer."""
        return [value.name for value in self.layer_run.inputs]

    @property
    def shape(self) -> Shape:
        """The shape of the layer's first input, without the batch axis."""
        return self.layer_run.inputs[0].shape

    def size(self, axis: int, index: int = 0) -> int:
        """Return the size of an axis of the input `index`.

        Raises PellucidError if the size depends on the number of examples.
        """
        size = self.layer_run.inputs[index].sizes[axis]
        if size is None:
            raise PellucidError(
                f"{self.layer_run.name}: {type(self.layer_run.layer).__name__} along the axis of examples has no form "
                "in ONNX"
            )
        return size

    def param(self, name: str) -> str:
        """Add a parameter to the constants, and return its name in the file, which is its path.

        Raises PellucidError if the layer has no such parameter.
        """
        path = join(self.layer_run.path, name)
        if name not in self.layer_run.params:
            known = ", ".join(self.layer_run.params) or "none"
            raise PellucidError(f"{type(self.layer_run.layer).__name__}: no parameter {name!r}; known: {known}")
        self.constants[path] = self.layer_run.params[name]
        return path

    def constant(self, name: str, value: Tensor) -> str:
        """Add a constant tensor, and return its name."""
        full_name = f"{self.layer_run.name}/{name}"
        self.constants[full_name] = value
        return full_name

    def integers(self, name: str, *values: int) -> str:
        """Add a 1-d int64 constant, and return its name."""
        return self.constant(name, torch.tensor(values, dtype=torch.int64))

    def number(self, name: str, value: float) -> str:
        """Add a 0-d float32 constant, and return its name."""
        return self.constant(name, torch.tensor(value, dtype=torch.float32))

    def inner(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node before the last one, and return the name of its output."""
        name = f"{self.layer_run.name}/{len(self.written) + 1}"
        self.written.append(Node(op, name, inputs, (name,), attributes))
        return name

    def inners(self, op: str, count: int, *inputs: str, **attributes: Any) -> tuple[str, ...]:
        """Add a node with `count` outputs, none of which is the layer's output, and return their names."""
        name = f"{self.layer_run.name}/{len(self.written) + 1}"
        outputs = tuple(f"{name}/{number}" for number in range(1, count + 1))
        self.written.append(Node(op, name, inputs, outputs, attributes))
        return outputs

    def output(self, op: str, name: str, *inputs: str) -> None:
        """Add a node whose output is the file's output `name`."""
        self.written.append(Node(op, f"{self.layer_run.name}/{name}", inputs, (name,)))

    def last(self, op: str, *inputs: str, **attributes: Any) -> None:
        """Add the node whose output is the layer's output."""
        self.written.append(Node(op, self.layer_run.name, inputs, (self.layer_run.output.name,), attributes))

    def with_layer_metadata(self, readable: Collection[str]) -> list[Node]:
        """Return the nodes, with the layer's configuration unless the import can find the layer without it.

        readable: the operators that the import supports. Nodes of user-defined layers have no such metadata.
        """
        if not self.built_in or (len(self.written) == 1 and not self.needs_metadata and self.written[0].op in readable):
            return self.written
        inputs = [value.name for value in self.layer_run.inputs]
        layer_metadata = json.dumps(
            {"path": self.layer_run.path, "inputs": inputs, "layer": to_config(self.layer_run.layer)}
        )
        return [replace(node, layer_metadata=layer_metadata) for node in self.written]
