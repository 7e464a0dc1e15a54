"""Networks cut off behind a layer: what is needed to compute its output, and nothing after it."""

from collections.abc import Callable
from typing import Any

from pellucid.combine import Combinator, Fork, Graph, Parallel, Sequential, Shared
from pellucid.errors import PellucidError, nearest
from pellucid.layers.base import Layer


def upto(net: Layer, path: str) -> Layer:
    """Return the part of `net` that ends with the layer or node at `path`; params and paths are those of the whole.

    A Shared layer outputs a tuple, one value for each use; a node of a Graph that runs another's layer again is named
    by its own name. Raises PellucidError for a path that leads nowhere.
    """
    return _cut(net, path.split(".") if path else [], path)


def _cut(layer: Layer, names: list[str], path: str) -> Layer:
    if not names:
        return layer
    if not isinstance(layer, Combinator):
        raise PellucidError(f"no layer {path!r}: there is nothing called {names[0]!r} in a {type(layer).__name__}")
    known = layer.nodes if isinstance(layer, Graph) else layer.layers
    if names[0] not in known:
        raise PellucidError(f"no layer {path!r}: {names[0]!r} is none of {', '.join(known)}{nearest(names[0], known)}")
    if type(layer) not in CUTS:
        raise PellucidError(f"cannot look into a {type(layer).__name__} at {path!r}; name a layer outside of it")
    return CUTS[type(layer)](layer, names[0], names[1:], path)


def _sequential(layer: Sequential, name: str, rest: list[str], path: str) -> Layer:
    kept: dict[str, Layer] = {}
    for child, its in layer.children.items():
        if child == name:
            break
        kept[child] = its
    return Sequential(**kept, **{name: _cut(layer.children[name], rest, path)})


def _parallel(layer: Parallel, name: str, rest: list[str], path: str) -> Layer:
    if name == "merge":
        return Parallel(layer.branches, _cut(layer.merge, rest, path))
    return Sequential(**{name: _cut(layer.branches[name], rest, path)})


def _fork(layer: Fork, name: str, rest: list[str], path: str) -> Layer:
    return Sequential(**{name: _cut(layer.heads[name], rest, path)})


def _shared(layer: Shared, name: str, rest: list[str], path: str) -> Layer:
    return Shared(_cut(layer.layer, rest, path))


def _graph(graph: Graph, name: str, rest: list[str], path: str) -> Layer:
    if rest and (isinstance(graph.nodes[name][0], str) or any(node[0] == name for node in graph.nodes.values())):
        raise PellucidError(f"{path!r} lies in a layer that runs more than once; name one of its nodes as a whole")
    needed, asked = set[str](), [name]
    while asked:
        one = asked.pop()
        if one in needed or one in graph.inputs:
            continue
        needed.add(one)
        layer, *sources = graph.nodes[one]
        asked += [*sources, *([layer] if isinstance(layer, str) else [])]
    nodes = {one: node for one, node in graph.nodes.items() if one in needed}
    if rest:
        nodes[name] = (_cut(graph.nodes[name][0], rest, path), *graph.nodes[name][1:])
    return Graph(nodes, (name,), graph.inputs)


CUTS: dict[type[Layer], Callable[[Any, str, list[str], str], Layer]] = {
    Sequential: _sequential,
    Parallel: _parallel,
    Fork: _fork,
    Shared: _shared,
    Graph: _graph,
}
