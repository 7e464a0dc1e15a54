"""Nodes of a graph that stand in a row."""

from collections import Counter
from typing import Any

from pellucid.combine.graph import Graph
from pellucid.combine.sequential import Sequential
from pellucid.layers.base import Params


def rows_joined(graph: Graph, params: Params) -> tuple[Graph, Params]:
    """Return the same graph and its parameters with one node for nodes of which each is all that reads the one before.

    The joined node bears the name of the last of them. Nodes whose layer runs more than once stay by themselves.
    """
    readers = Counter(source for _, *sources in graph.nodes.values() for source in sources)
    readers.update(graph.outputs)
    repeated = {node[0] for node in graph.nodes.values() if isinstance(node[0], str)}
    apart = repeated | {name for name, node in graph.nodes.items() if isinstance(node[0], str)}
    rows: dict[str, list[str]] = {}  # by the name of the last
    for name, (_, *sources) in graph.nodes.items():
        before = sources[0]
        begins = name in apart or len(sources) > 1 or before not in rows or before in apart or readers[before] > 1
        rows[name] = [name] if begins else [*rows.pop(before), name]
    nodes: dict[str, tuple[Any, ...]] = {}
    joined: Params = {}
    for name, row in rows.items():
        layer, *_ = graph.nodes[name]
        sources = graph.nodes[row[0]][1:]
        if len(row) > 1:
            layer = Sequential(**{part: graph.nodes[part][0] for part in row})
            joined[name] = {part: params[part] for part in row}
        elif name in params:
            joined[name] = params[name]
        nodes[name] = (layer, *sources)
    return Graph(nodes, graph.outputs, graph.inputs), joined
