"""Conversion of a network and its parameters to a function for evaluation mode."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from pellucid.combine.base import uses_flow
from pellucid.combine.graph import Graph
from pellucid.combine.parallel import Parallel
from pellucid.combine.sequential import Sequential
from pellucid.fuse.dense_block import dense_layer
from pellucid.fuse.inference.runs import (
    INSIDE,
    OVER,
    Affine,
    AsWritten,
    Block,
    ChannelsLast,
    ConvertedCombinator,
    Convolution,
    DenseBlockLayer,
    InPlaceActivation,
    Residual,
    RunFunction,
    RunSequence,
    RunSum,
    convolution,
    scale_and_shift,
)
from pellucid.fuse.memory import reordered
from pellucid.layers.add import Add
from pellucid.layers.base import Layer, Params, Trait, states
from pellucid.layers.batchnorm import BatchNorm
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.dropout import Dropout
from pellucid.layers.identity import Identity
from pellucid.layers.relu import ReLU

# Operations whose output is new memory that nothing else reads.
FRESH = (Convolution, Affine, InPlaceActivation, Residual, RunSum, Block)


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
    return ChannelsLast(_run(net, params))


def _run(layer: Layer, params: Params) -> RunFunction:
    runs, _ = _runs(_items(layer, params))
    return runs[0] if len(runs) == 1 else RunSequence(tuple(runs))


def _items(layer: Layer, params: Params) -> list[LayerWithParams]:
    """Return the layers of a Sequential and of the Sequentials in it, without Identity and Dropout."""
    named = {str(index): item for index, item in enumerate(_flat(layer, params))}
    order = reordered({name: item.layer for name, item in named.items()})
    return [named[name] for name in order]


def _flat(layer: Layer, params: Params) -> Iterator[LayerWithParams]:
    if type(layer) is Sequential:
        for name, child in layer.children.items():
            yield from _flat(child, params[name])
    elif type(layer) not in (Identity, Dropout):
        yield LayerWithParams(layer, params)


def _runs(items: Sequence[LayerWithParams]) -> tuple[list[RunFunction], bool]:
    """Return the functions that run the items, and whether the output is memory that no other layer reads."""
    runs: list[RunFunction] = []
    rest = [*items]
    fresh = False
    while rest:
        run, taken = _next(rest, fresh)
        layer = rest[0].layer
        fresh = isinstance(run, FRESH) or states(layer, Trait.NEW_OUTPUT) or (fresh and states(layer, Trait.VIEW))
        runs.append(run)
        del rest[:taken]
    return runs, fresh


def _next(rest: Sequence[LayerWithParams], fresh: bool) -> tuple[RunFunction, int]:
    """Return the function for the first of these layers, and how many layers it replaces.

    fresh: whether no other layer reads the memory of its input.
    """
    layer, params = rest[0].layer, rest[0].params
    if type(layer) is Conv2d:
        return _convolution(layer, params, rest[1:])
    after = rest[1].layer if len(rest) > 1 else None
    if type(layer) is BatchNorm:
        act = _act(after, tuple(OVER))
        return Affine(*_cast(scale_and_shift(layer, params), params), act, fresh), 1 + (act is not None)
    if type(layer) is Parallel and (found := _sum(layer, params, after)) is not None:
        return found
    if block := list(_block(rest)):
        return Block(tuple(block)), len(block)
    return _one(layer, params, fresh), 1


def _one(layer: Layer, params: Params, fresh: bool) -> RunFunction:
    if type(layer) is Graph:
        layer, params = _rows_joined(layer, params)
    if uses_flow(layer):
        return ConvertedCombinator(
            layer, params, {name: _run(child, params[name]) for name, child in layer.layers.items()}
        )
    return InPlaceActivation(layer) if type(layer) in OVER and fresh else AsWritten(layer, params)


def _convolution(layer: Conv2d, params: Params, after: Sequence[LayerWithParams]) -> tuple[RunFunction, int]:
    """Return a convolution with the norm and the activation after it, and the number of layers that it replaces."""
    folded: tuple[Tensor | None, Tensor | None] = None, None
    taken = 1
    if after and type(norm := after[0].layer) is BatchNorm:
        folded = scale_and_shift(norm, after[0].params)
        taken += 1
    act = _act(after[taken - 1].layer if len(after) >= taken else None, tuple(INSIDE))
    return convolution(layer, params, *folded, act), taken + (act is not None)


def _act(layer: Layer | None, kinds: tuple[type[Layer], ...]) -> Layer | None:
    """Return the layer if it is an activation of one of the types `kinds`, otherwise None."""
    return layer if type(layer) in kinds else None


def _sum(layer: Parallel, params: Params, after: Layer | None) -> tuple[RunFunction, int] | None:
    """Return a sum of branches with the activation after it, and the number of layers that it replaces.

    None for another merge, and if another layer reads the output of each branch.
    """
    if type(layer.merge) is not Add:
        return None
    branches = [_runs(_items(branch, params[name])) for name, branch in layer.branches.items()]
    act = _act(after, (ReLU,))  # the only one that oneDNN can fuse after a sum
    for index, (runs, _) in enumerate(branches):
        last = runs[-1] if runs else None
        if len(branches) == 2 and isinstance(last, Convolution) and last.act is None:
            other, _ = branches[1 - index]
            last = replace(last, act=act)
            return Residual(RunSequence(tuple(other)), RunSequence(tuple(runs[:-1])), last), 1 + (act is not None)
    act = _act(after, tuple(OVER))
    for index, (runs, fresh) in enumerate(branches):
        if fresh:
            others = tuple(RunSequence(tuple(other)) for other, _ in [*branches[:index], *branches[index + 1 :]])
            return RunSum(RunSequence(tuple(runs)), others, act), 1 + (act is not None)
    return None


def _block(rest: Sequence[LayerWithParams]) -> Iterator[DenseBlockLayer]:
    """Yield the layers of the dense block at the start of these items, if there is one."""
    for item in rest:
        row = dense_layer("", item.layer, lambda part: part)
        if row is None:
            return
        params = item.params[row.body]
        norm, _, conv = row.inner
        scale, shift = _cast(scale_and_shift(row.norm, params[norm]), params[norm])
        assert isinstance(row.rest, Sequential)
        body = _run(Sequential(**{conv: row.conv, **row.rest.children}), params)
        yield DenseBlockLayer(Affine(scale, shift, row.act(), over=False), body, row.growth)


def _cast(parts: tuple[Tensor, Tensor], like: Params) -> tuple[Tensor, Tensor]:
    scale, shift = (part.to(like["weight"].dtype) for part in parts)
    return scale, shift


def _rows_joined(graph: Graph, params: Params) -> tuple[Graph, Params]:
    """Return an equivalent graph and its parameters, with each chain of nodes joined into one node.

    In a chain, each node is the only reader of the node before it. The joined node has the name of the last of them.
    Nodes whose layer runs more than once, and parameters and constants, which have no input, are not joined.
    """
    readers = Counter(source for _, *sources in graph.nodes.values() for source in sources)
    readers.update(graph.outputs)
    repeated = {node[0] for node in graph.nodes.values() if isinstance(node[0], str)}
    separate = repeated | {
        name for name, (layer, *sources) in graph.nodes.items() if isinstance(layer, str) or not sources
    }
    rows: dict[str, list[str]] = {}  # the names of the nodes in each chain, by the name of the last node
    for name, (_, *sources) in graph.nodes.items():
        before = sources[0] if sources else ""  # a parameter or a constant has no source
        is_single = name in separate or before in separate
        begins = is_single or len(sources) > 1 or before not in rows or readers[before] > 1
        rows[name] = [name] if begins else [*rows.pop(before), name]
    nodes: dict[str, tuple[Any, ...]] = {}
    joined: Params = {}
    for name, row in rows.items():
        layer, *_ = graph.nodes[name]
        sources = graph.nodes[row[0]][1:]
        if len(row) > 1:
            # By index, since the names of nodes may contain dots.
            layer = Sequential(**{str(index): graph.nodes[part][0] for index, part in enumerate(row)})
            joined[name] = {str(index): params[part] for index, part in enumerate(row)}
        elif name in params:
            joined[name] = params[name]
        nodes[name] = (layer, *sources)
    return Graph(nodes, graph.outputs, graph.inputs), joined
