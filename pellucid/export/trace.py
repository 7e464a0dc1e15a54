"""A network as the list of its layers' runs with named values, from which other formats are written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from pellucid.layers import MaxUnpool2d
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.sweep import run

RESERVED = re.compile(r"(input|output)\d*|preprocess")  # names of a file's own values


@dataclass(frozen=True)
class Value:
    """A value between two layers: its name, and its shape without the batch axis."""

    name: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class Step:
    """One run of a layer that is not a combinator.

    path: of the layer in the network. name: the same, or path:2 where the layer runs again.
    """

    name: str
    path: str
    layer: Layer
    params: Params
    inputs: tuple[Value, ...]
    output: Value


@dataclass(frozen=True, eq=False)
class Trace:
    """All runs in order, with the inputs and outputs; an output may be an input, or occur twice."""

    inputs: tuple[Value, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Value, ...]

    @property
    def switches(self) -> dict[str, int]:
        """The values that are whole numbers, places in an image, by name; and how many places there are."""
        unpools = [step for step in self.steps if type(step.layer) is MaxUnpool2d]
        return {step.inputs[1].name: prod(step.output.shape[1:]) for step in unpools}


def trace(net: Layer, params: Params, shape: Any) -> Trace:
    """Follow one input of `shape` (no batch axis; a tuple of shapes for several inputs) through the network.

    Nothing is computed but shapes. Raises PellucidError where an input does not fit.
    """
    several = len(shape) > 0 and isinstance(shape[0], tuple)
    names = [f"input{number}" for number in range(1, len(shape) + 1)] if several else ["input"]
    given = tuple(map(Value, names, shape if several else (shape,)))
    taken, steps = set(names), []

    def leaf(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Value, None]:
        fed = x if isinstance(x, tuple) else (x,)
        shapes = tuple(value.shape for value in fed)
        with torch.device("meta"):
            _, out = layer.init(shapes if isinstance(x, tuple) else shapes[0], torch.Generator())
        name = _free(path or type(layer).__name__.lower(), taken)
        taken.add(name)
        steps.append(Step(name, path, layer, params, fed, Value(name, tuple(out))))
        return steps[-1].output, None

    out, _ = run(net, params, given if several else given[0], Mode(keep=False), leaf)
    return Trace(given, tuple(steps), tuple(_flat(out)))


def _free(path: str, taken: set[str]) -> str:
    name, number = path, 1
    while name in taken or RESERVED.fullmatch(name):
        number += 1
        name = f"{path}:{number}"
    return name


def _flat(values: Any) -> Iterator[Value]:
    """Yield the values of nested tuples, as a Fork of Forks gives them."""
    for value in values if isinstance(values, tuple) else (values,):
        if isinstance(value, tuple):
            yield from _flat(value)
        else:
            yield value
