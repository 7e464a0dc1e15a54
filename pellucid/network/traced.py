"""A network as a list of layer runs with named values, from which files in other formats are written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from pellucid.layers import MaxUnpool2d
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.sweep import run

RESERVED = re.compile(r"(input|output)\d*|preprocess|images|predictions|class_map")  # names of other values in the file


@dataclass(frozen=True)
class GraphValue:
    """A value between layers: its name, and its shape without the batch axis."""

    name: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class TracedLayer:
    """One run of a layer that is not a combinator.

    path: the path of the layer in the network. name: the path, or path:2, path:3 ... for further runs of the layer.
    """

    name: str
    path: str
    layer: Layer
    params: Params
    inputs: tuple[GraphValue, ...]
    output: GraphValue


@dataclass(frozen=True, eq=False)
class GraphTrace:
    """All runs in order, with the network's inputs and outputs; an output may also be an input, or occur twice."""

    inputs: tuple[GraphValue, ...]
    steps: tuple[TracedLayer, ...]
    outputs: tuple[GraphValue, ...]

    @property
    def switches(self) -> dict[str, int]:
        """The number of positions in a map, by the name of each value that contains indices of positions (switches)."""
        unpools = [step for step in self.steps if type(step.layer) is MaxUnpool2d]
        return {step.inputs[1].name: prod(step.output.shape[1:]) for step in unpools}


def trace(net: Layer, params: Params, shape: Any) -> GraphTrace:
    """Return the runs for inputs of `shape` (without the batch axis; a tuple of shapes for several inputs).

    Only shapes are computed. Raises PellucidError if an input does not fit.
    """
    has_several_inputs = len(shape) > 0 and isinstance(shape[0], tuple)
    names = [f"input{number}" for number in range(1, len(shape) + 1)] if has_several_inputs else ["input"]
    inputs = tuple(map(GraphValue, names, shape if has_several_inputs else (shape,)))
    used, steps = set(names), []

    def leaf(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[GraphValue, None]:
        sources = x if isinstance(x, tuple) else (x,)
        shapes = tuple(value.shape for value in sources)
        with torch.device("meta"):
            _, out = layer.init(shapes if isinstance(x, tuple) else shapes[0], torch.Generator())
        name = _free(path or type(layer).__name__.lower(), used)
        used.add(name)
        steps.append(TracedLayer(name, path, layer, params, sources, GraphValue(name, tuple(out))))
        return steps[-1].output, None

    out, _ = run(net, params, inputs if has_several_inputs else inputs[0], Mode(keep=False), leaf)
    return GraphTrace(inputs, tuple(steps), tuple(_flat(out)))


def _free(path: str, used: set[str]) -> str:
    """Return a name that is not in `used`."""
    name, number = path, 1
    while name in used or RESERVED.fullmatch(name):
        number += 1
        name = f"{path}:{number}"
    return name


def _flat(values: Any) -> Iterator[GraphValue]:
    """Yield the values of nested tuples, such as the outputs of nested Forks."""
    for value in values if isinstance(values, tuple) else (values,):
        if isinstance(value, tuple):
            yield from _flat(value)
        else:
            yield value
