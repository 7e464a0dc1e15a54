"""A network as a list of layer runs with named values, from which ONNX and PyTorch files are written."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.layers import MaxUnpool2d
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait
from pellucid.nested import map_tree
from pellucid.operators.base import BATCHES
from pellucid.sweep import run

# Names that exported files use for other values.
RESERVED_NAMES = re.compile(r"(input|output)\d*|preprocess|images|predictions|class_map")


@dataclass(frozen=True)
class GraphValue:
    """A value between layers, by name."""

    name: str
    sizes: tuple[int | None, ...]  # of all axes, with None for a size that depends on the number of examples
    dtype: torch.dtype = torch.float32

    @property
    def shape(self) -> Any:
        """The sizes of all axes but the first."""
        return self.sizes[1:]


_MetaPair = tuple[Tensor, Tensor]  # a value for both batch sizes in BATCHES, on the device "meta"


@dataclass(frozen=True, eq=False)
class TracedLayer:
    """One run of a layer that is not a combinator."""

    # the path, or path:2, path:3 ... for the layer's later runs
    name: str
    path: str  # the path of the layer in the network
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

    Only shapes are computed, for two batch sizes. Raises PellucidError if an input does not have the expected shape.
    """
    has_several_inputs = len(shape) > 0 and isinstance(shape[0], tuple)
    input_names = [f"input{number}" for number in range(1, len(shape) + 1)] if has_several_inputs else ["input"]
    shapes = shape if has_several_inputs else (shape,)
    inputs = tuple(
        GraphValue(name, (None, *input_shape)) for name, input_shape in zip(input_names, shapes, strict=True)
    )
    meta_pairs = {value.name: _empty(value.shape, BATCHES) for value in inputs}
    used_names = set(input_names)
    steps = []

    def trace_layer(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[GraphValue, None]:
        sources = x if isinstance(x, tuple) else (x,)
        name = _unused_name(path or type(layer).__name__.lower(), used_names)
        used_names.add(name)
        meta_pairs[name] = output_of(layer, params, [meta_pairs[value.name] for value in sources], isinstance(x, tuple))
        steps.append(TracedLayer(name, path, layer, params, sources, graph_value(name, meta_pairs[name])))
        return steps[-1].output, None

    out, _ = run(net, params, inputs if has_several_inputs else inputs[0], Mode(keep=False), trace_layer)
    return GraphTrace(inputs, tuple(steps), tuple(_flat_values(out)))


def output_of(layer: Layer, params: Params, inputs: Sequence[_MetaPair], as_tuple: bool) -> _MetaPair:
    """Return the output of a leaf for inputs on the device "meta", for both batch sizes.

    as_tuple: whether the layer receives a tuple of inputs. Raises PellucidError for inputs of an unexpected shape.
    """
    if Trait.ANY_AXES in layer.traits:
        params = map_tree(lambda leaf: leaf.to("meta"), params)
        first, second = (
            _run_on_meta(layer, params, [pair[run] for pair in inputs], as_tuple) for run in range(len(BATCHES))
        )
        return first, second
    shapes = [tuple(tuple(x.shape[1:]) for x in xs) for xs in zip(*inputs, strict=True)]
    output_shapes: dict[Any, Shape] = {}
    for shape in dict.fromkeys(shapes):  # one shape, unless the first axis is not the batch axis (opened networks)
        with torch.device("meta"):
            _, output_shapes[shape] = layer.init(shape if as_tuple else shape[0], torch.Generator())
    first, second = (
        torch.empty(len(x), *output_shapes[shape], device="meta") for x, shape in zip(inputs[0], shapes, strict=True)
    )
    return first, second


def graph_value(name: str, sizes_pair: _MetaPair) -> GraphValue:
    """Return the GraphValue `name`, from its sizes for both batch sizes."""
    axes = tuple(
        first_size if first_size == second_size else None
        for first_size, second_size in zip(sizes_pair[0].shape, sizes_pair[1].shape, strict=True)
    )
    return GraphValue(name, axes, sizes_pair[0].dtype)


def _run_on_meta(layer: Layer, params: Params, xs: Sequence[Tensor], as_tuple: bool) -> Tensor:
    try:
        return layer.forward(params, tuple(xs) if as_tuple else xs[0], Mode(keep=False))[0]
    except (RuntimeError, IndexError) as error:
        raise PellucidError(f"{type(layer).__name__}: {' '.join(str(error).split())}") from error


def _empty(shape: Shape, batch_sizes: tuple[int, int]) -> _MetaPair:
    first, second = (torch.empty(batch_size, *shape, device="meta") for batch_size in batch_sizes)
    return first, second


def _unused_name(path: str, used_names: set[str]) -> str:
    """Return the path, with a number if needed, as a name that is neither used nor reserved."""
    name = path
    number = 1
    while name in used_names or RESERVED_NAMES.fullmatch(name):
        number += 1
        name = f"{path}:{number}"
    return name


def _flat_values(values: Any) -> Iterator[GraphValue]:
    """Yield the values of nested tuples, such as the outputs of nested Forks."""
    for value in values if isinstance(values, tuple) else (values,):
        if isinstance(value, tuple):
            yield from _flat_values(value)
        else:
            yield value
