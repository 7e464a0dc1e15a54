"""Parts of networks that explanations run: up to a layer, and without a last softmax or sigmoid."""

from collections.abc import Iterable
from typing import Any

from pellucid.base.errors import PellucidError, nearest
from pellucid.combine import Combinator, Fork, Graph, Parallel, Sequential, Shared
from pellucid.combine.base import first_name, replace_layer, walk
from pellucid.layers import Identity, LogSoftmax, Sigmoid, Softmax
from pellucid.layers.base import Layer
from pellucid.network.ending import last_layers, only_moves
from pellucid.operators import Positions, Select


def before_probabilities(net: Layer) -> Layer:
    """Return the network without a softmax or sigmoid before its outputs; paths and parameters are the same.

    Its outputs are the scores, which do not saturate. Layers that only move values may follow the softmax. An output
    that is the position of the largest score becomes the scores.
    """
    if isinstance(net, Graph):
        outputs = tuple(_before_position(net, name) for name in net.outputs)
        if outputs != net.outputs:
            needed = needed_values(net.nodes, outputs)
            nodes = {name: node for name, node in net.nodes.items() if name in needed}
            net = net.with_fields(nodes=nodes, outputs=outputs)
    for path, last in last_layers(net, only_moves).items():
        if isinstance(last, Softmax | LogSoftmax | Sigmoid) and not _computes_further(net, path):
            net = replace_layer(net, path, lambda _: Identity())
    return net


def _before_position(net: Graph, output: str) -> str:
    """Return the name of the scores if an output is the position of their maximum, else of the output."""
    name = output
    while name in net.nodes:
        layer, *sources = net.nodes[name]
        if isinstance(layer, Positions):
            return sources[0] if layer.search in ("argmax", "max") else output
        if isinstance(layer, str) or not (only_moves(layer) or isinstance(layer, Select)):
            return output
        name = sources[0]
    return output


def _computes_further(net: Layer, path: str) -> bool:
    """Return whether a graph computes with the output of the layer at `path` in it, or runs the layer again."""
    graphs = [(f"{prefix}." if prefix else "", graph) for prefix, graph in walk(net) if isinstance(graph, Graph)]
    return any(path.startswith(prefix) and _is_used(graph, path.removeprefix(prefix)) for prefix, graph in graphs)


def _is_used(graph: Graph, path: str) -> bool:
    moved_nodes = {path}  # the nodes with the same values
    for name, (layer, *sources) in graph.nodes.items():
        if layer == path:
            return True
        if moved_nodes.isdisjoint(sources):
            continue
        if isinstance(layer, str) or not only_moves(layer):
            return True
        moved_nodes.add(name)
    return False


def needed_values(nodes: dict[str, tuple[Any, ...]], outputs: Iterable[str]) -> set[str]:
    """Return the names of the values of a graph from which outputs are computed, and of the layers that they reuse."""
    needed = set(outputs)
    for name, (layer, *sources) in reversed(nodes.items()):
        if name in needed:
            needed.update(sources)
            if isinstance(layer, str):
                needed.add(layer)
    return needed


def upto(net: Layer, path: str) -> Layer:
    """Return the part of `net` up to the layer or node at `path`; parameters and paths are the same as for `net`.

    A Shared layer outputs a tuple with one value for each use. A node of a Graph that reuses the layer of another node
    has its own name. Raises PellucidError for an unknown path.
    """
    return _up_to(net, path, path)


def _up_to(layer: Layer, relative_path: str, path: str) -> Layer:
    """Return the part of a layer up to its descendant at `relative_path`; path: the complete path, for messages."""
    if not relative_path:
        return layer
    if not isinstance(layer, Combinator):
        raise PellucidError(
            f"no layer {path!r}: a {type(layer).__name__} has no part {relative_path.partition('.')[0]!r}"
        )
    layers = layer.nodes if isinstance(layer, Graph) else layer.layers
    name = first_name(relative_path, layers)
    inner_path = relative_path.removeprefix(name).removeprefix(".")
    if name not in layers:
        raise PellucidError(f"no layer {path!r}: {name!r} is none of {', '.join(layers)}{nearest(name, layers)}")
    # Types are compared exactly, because a subclass may run its layers in another way.
    if type(layer) is Graph:
        return _graph_up_to(layer, name, inner_path, path)
    if type(layer) is Shared:
        return Shared(_up_to(layer.layer, inner_path, path))
    if type(layer) is Parallel and name == "merge":
        return Parallel(layer.branches, _up_to(layer.merge, inner_path, path))
    preceding: dict[str, Layer] = {}
    if type(layer) is Sequential:
        children = list(layer.children)
        preceding = {child: layer.children[child] for child in children[: children.index(name)]}
    elif type(layer) not in (Parallel, Fork):
        raise PellucidError(
            f"{path!r}: a layer inside a {type(layer).__name__} cannot be a target; give a layer outside of it"
        )
    return Sequential(**preceding, **{name: _up_to(layer.layers[name], inner_path, path)})


def _graph_up_to(graph: Graph, name: str, inner_path: str, path: str) -> Layer:
    """Return the graph of the node `name` and the nodes that it needs, cut at `inner_path` in it unless that is ""."""
    if inner_path and (isinstance(graph.nodes[name][0], str) or any(node[0] == name for node in graph.nodes.values())):
        raise PellucidError(f"{path!r} is in a layer that runs more than once; give one of its nodes as a whole")
    needed = needed_values(graph.nodes, (name,))
    nodes = {current: node for current, node in graph.nodes.items() if current in needed}
    if inner_path:
        nodes[name] = (_up_to(graph.nodes[name][0], inner_path, path), *graph.nodes[name][1:])
    return Graph(nodes, (name,), graph.inputs)
