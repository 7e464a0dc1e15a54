"""Conversion of a network and its parameters to a function for evaluation mode.

Tests: tests/fuse/test_inference.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from pellucid.combine.base import uses_flow
from pellucid.combine.graph import Graph
from pellucid.combine.parallel import Parallel
from pellucid.combine.sequential import Sequential
from pellucid.fuse.attention import FusedAttention
from pellucid.fuse.combinators import chains_of
from pellucid.fuse.dense_block import as_dense_layer
from pellucid.fuse.inference.runs import (
    INPLACE_KERNELS,
    ONEDNN_ACTIVATIONS,
    Affine,
    AsWritten,
    ChannelsLast,
    ConvertedCombinator,
    Convolution,
    DenseBlockLayer,
    DenseBlockRun,
    InPlaceActivation,
    MaxPoolRun,
    Residual,
    RunFunction,
    RunSequence,
    RunSum,
    convolution,
    scale_and_shift,
)
from pellucid.fuse.memory import reorder_layers
from pellucid.layers.add import Add
from pellucid.layers.base import Layer, Params, Trait, declares
from pellucid.layers.batchnorm import BatchNorm
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.dropout import Dropout
from pellucid.layers.identity import Identity
from pellucid.layers.maxpool2d import MaxPool2d
from pellucid.layers.relu import ReLU
from pellucid.operators.products import Attention

# Operations whose output is new memory that no other layer reads.
NEW_OUTPUT_RUNS = (Convolution, Affine, InPlaceActivation, Residual, RunSum, DenseBlockRun)


@dataclass(frozen=True)
class LayerWithParams:
    """A layer of a sequence, with its parameters."""

    layer: Layer
    params: Params


def inference(net: Layer, params: Params) -> ChannelsLast:
    """Return a function from inputs to the output of `net.forward` in evaluation mode.

    Batch normalization is folded into the weights of the convolution before it; activations and sums are computed in
    the convolution's kernel or in place; the maps of a dense block are in one tensor; images have the channels-last
    memory format; and nothing is cached. Folded weights are copies, so later changes of `params` may have no effect.
    The outputs are equal up to rounding errors. Subclasses of the replaced layers are not replaced.
    """
    return ChannelsLast(_convert(net, params))


def _convert(layer: Layer, params: Params) -> RunFunction:
    runs, _ = _convert_all(_flat_layers(layer, params))
    return runs[0] if len(runs) == 1 else RunSequence(tuple(runs))


def _flat_layers(layer: Layer, params: Params) -> list[LayerWithParams]:
    """Return the layers of a Sequential and of the Sequentials in it, without Identity and Dropout."""
    items = {str(index): item for index, item in enumerate(_iterate_layers(layer, params))}
    order = reorder_layers({name: item.layer for name, item in items.items()})
    return [items[name] for name in order]


def _iterate_layers(layer: Layer, params: Params) -> Iterator[LayerWithParams]:
    if type(layer) is Sequential:
        for name, child in layer.children.items():
            yield from _iterate_layers(child, params[name])
    elif type(layer) not in (Identity, Dropout):
        yield LayerWithParams(layer, params)


def _convert_all(items: Sequence[LayerWithParams]) -> tuple[list[RunFunction], bool]:
    """Return the functions that run the items, and whether the output is memory that no other layer reads."""
    runs: list[RunFunction] = []
    remaining = [*items]
    owns_memory = False
    while remaining:
        run, n_replaced = _convert_first(remaining, owns_memory)
        layer = remaining[0].layer
        owns_memory = (
            isinstance(run, NEW_OUTPUT_RUNS)
            or declares(layer, Trait.NEW_OUTPUT)
            or (owns_memory and declares(layer, Trait.VIEW))
        )
        runs.append(run)
        del remaining[:n_replaced]
    return runs, owns_memory


def _convert_first(remaining: Sequence[LayerWithParams], owns_memory: bool) -> tuple[RunFunction, int]:
    """Return the function for the first of these layers, and how many layers it replaces.

    owns_memory: whether no other layer reads the memory of its input.
    """
    layer = remaining[0].layer
    params = remaining[0].params
    if type(layer) is Conv2d:
        return _convert_convolution(layer, params, remaining[1:])
    next_layer = remaining[1].layer if len(remaining) > 1 else None
    if type(layer) is BatchNorm:
        act = _activation_or_none(next_layer, tuple(INPLACE_KERNELS))
        return Affine(*_cast_like(scale_and_shift(layer, params), params), act, owns_memory), 1 + (act is not None)
    if type(layer) is Parallel and (conversion := _convert_sum(layer, params, next_layer)) is not None:
        return conversion
    if dense_layers := list(_dense_block_layers(remaining)):
        return DenseBlockRun(tuple(dense_layers)), len(dense_layers)
    return _convert_layer(layer, params, owns_memory), 1


def _convert_layer(layer: Layer, params: Params, owns_memory: bool) -> RunFunction:
    if type(layer) is Graph:
        layer, params = _join_chains(layer, params)
    if uses_flow(layer):
        return ConvertedCombinator(
            layer, params, {name: _convert(child, params[name]) for name, child in layer.layers.items()}
        )
    if type(layer) is MaxPool2d:
        return MaxPoolRun(layer)
    if type(layer) is Attention:
        return AsWritten(FusedAttention(layer), params)
    return InPlaceActivation(layer) if type(layer) in INPLACE_KERNELS and owns_memory else AsWritten(layer, params)


def _convert_convolution(
    layer: Conv2d, params: Params, following: Sequence[LayerWithParams]
) -> tuple[RunFunction, int]:
    """Return a convolution with the norm and the activation after it, and the number of layers that it replaces."""
    scale_and_shift_of_norm: tuple[Tensor | None, Tensor | None] = None, None
    n_replaced = 1
    if following and type(norm := following[0].layer) is BatchNorm:
        scale_and_shift_of_norm = scale_and_shift(norm, following[0].params)
        n_replaced += 1
    act = _activation_or_none(
        following[n_replaced - 1].layer if len(following) >= n_replaced else None, tuple(ONEDNN_ACTIVATIONS)
    )
    return convolution(layer, params, *scale_and_shift_of_norm, act), n_replaced + (act is not None)


def _activation_or_none(layer: Layer | None, activation_types: tuple[type[Layer], ...]) -> Layer | None:
    """Return the layer if it is an activation of one of these types, otherwise None."""
    return layer if type(layer) in activation_types else None


def _convert_sum(layer: Parallel, params: Params, next_layer: Layer | None) -> tuple[RunFunction, int] | None:
    """Return a sum of branches with the activation after it, and the number of layers that it replaces.

    Returns None if the merge is not Add, or if every branch's output may be read by another layer.
    """
    if type(layer.merge) is not Add:
        return None
    branches = [_convert_all(_flat_layers(branch, params[name])) for name, branch in layer.branches.items()]
    act = _activation_or_none(next_layer, (ReLU,))  # the only activation that oneDNN can fuse after a sum
    for index, (runs, _) in enumerate(branches):
        last = runs[-1] if runs else None
        if len(branches) == 2 and isinstance(last, Convolution) and last.act is None:
            other_runs, _ = branches[1 - index]
            last = replace(last, act=act)
            return Residual(RunSequence(tuple(other_runs)), RunSequence(tuple(runs[:-1])), last), 1 + (act is not None)
    act = _activation_or_none(next_layer, tuple(INPLACE_KERNELS))
    for index, (runs, owns_memory) in enumerate(branches):
        if owns_memory:
            other_branches = tuple(
                RunSequence(tuple(other_runs)) for other_runs, _ in [*branches[:index], *branches[index + 1 :]]
            )
            return RunSum(RunSequence(tuple(runs)), other_branches, act), 1 + (act is not None)
    return None


def _dense_block_layers(items: Sequence[LayerWithParams]) -> Iterator[DenseBlockLayer]:
    """Yield the layers of the dense block at the start of these items, if there is one."""
    for item in items:
        layer = as_dense_layer("", item.layer, lambda child: child)
        if layer is None:
            return
        params = item.params[layer.body_name]
        norm, _, conv = layer.inner_names
        scale, shift = _cast_like(scale_and_shift(layer.norm, params[norm]), params[norm])
        assert isinstance(layer.tail, Sequential)
        body = _convert(Sequential(**{conv: layer.conv, **layer.tail.children}), params)
        yield DenseBlockLayer(Affine(scale, shift, layer.act(), overwrite_x=False), body, layer.growth)


def _cast_like(tensors: tuple[Tensor, Tensor], like: Params) -> tuple[Tensor, Tensor]:
    scale, shift = (tensor.to(like["weight"].dtype) for tensor in tensors)
    return scale, shift


def _join_chains(graph: Graph, params: Params) -> tuple[Graph, Params]:
    """Return an equivalent graph and its parameters, with each chain of nodes joined into one node.

    The joined node has the name of the chain's last node. See `chains_of`.
    """
    nodes: dict[str, tuple[Any, ...]] = {}
    joined_params: Params = {}
    for chain in chains_of(graph, in_order=False):
        name = chain[-1]
        layer, *_ = graph.nodes[name]
        sources = graph.nodes[chain[0]][1:]
        if len(chain) > 1:
            # By index, since the names of nodes may contain dots.
            layer = Sequential(**{str(index): graph.nodes[node][0] for index, node in enumerate(chain)})
            joined_params[name] = {str(index): params[node] for index, node in enumerate(chain)}
        elif name in params:
            joined_params[name] = params[name]
        nodes[name] = (layer, *sources)
    return Graph(nodes, graph.outputs, graph.inputs), joined_params
