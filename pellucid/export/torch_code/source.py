"""Networks as Python source of PyTorch modules, and their weights by the modules' names."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pellucid.combine import Combinator, Fork, Graph, Parallel, Sequential, Shared, join, walk
from pellucid.errors import PellucidError
from pellucid.export.torch_code import modules
from pellucid.export.torch_code.layers import CODERS, literal
from pellucid.export.trace import Step, Trace
from pellucid.layers.base import Layer, Params

HELPERS = tuple(
    kind for kind in vars(modules).values() if inspect.isclass(kind) and kind.__module__ == modules.__name__
)
TAKEN = frozenset({*dir(nn.Sequential()), "merge", "names", "wires", "outputs", "inputs"})
INDENT = "    "


@dataclass(frozen=True, eq=False)
class Code:
    """An expression that makes a module, and the module's weights by name."""

    text: str
    weights: dict[str, Tensor]


def code(net: Layer, params: Params, traced: Trace) -> Code:
    """Return the expression for a network; PellucidError that lists every layer that has none."""
    steps: dict[str, Step] = {}
    for step in traced.steps:
        steps.setdefault(step.path, step)
    layers = [step.layer for step in traced.steps if type(step.layer) not in CODERS]
    layers += [one for _, one in walk(net) if isinstance(one, Combinator) and type(one) not in COMBINED]
    missing = dict.fromkeys(type(layer).__name__ for layer in layers)
    if missing:
        raise PellucidError(f"PyTorch has no form for the layers {', '.join(missing)}; use pellucid's own")
    return _code(net, params, "", steps, 1)


def helpers(text: str) -> list[str]:
    """Return the sources of the classes that the text of a file needs and PyTorch does not have."""
    used = set(re.findall(r"(?<![\w.\"'])([A-Z]\w+)\(", text))
    return [inspect.getsource(kind).rstrip() for kind in HELPERS if kind.__name__ in used]


def _code(layer: Layer, params: Params, path: str, steps: Mapping[str, Step], depth: int) -> Code:
    if not isinstance(layer, Combinator):
        return Code(CODERS[type(layer)](layer, steps[path]), dict(params))
    names = _names(layer)
    inner = {
        name: _code(child, params[name], join(path, name), steps, depth + 1) for name, child in layer.layers.items()
    }
    weights = {join(names[name], its): tensor for name, each in inner.items() for its, tensor in each.weights.items()}
    return Code(COMBINED[type(layer)](layer, {name: each.text for name, each in inner.items()}, names, depth), weights)


def _sequential(layer: Sequential, inner: Mapping[str, str], names: Mapping[str, str], depth: int) -> str:
    return f"nn.Sequential(OrderedDict({_table({names[name]: text for name, text in inner.items()}, depth)}))"


def _parallel(layer: Parallel, inner: Mapping[str, str], names: Mapping[str, str], depth: int) -> str:
    branches = _table({names[name]: inner[name] for name in layer.branches}, depth)
    return f"Parallel({branches}, {inner['merge']})"


def _fork(layer: Fork, inner: Mapping[str, str], names: Mapping[str, str], depth: int) -> str:
    return f"Fork({_table({names[name]: text for name, text in inner.items()}, depth)})"


def _shared(layer: Shared, inner: Mapping[str, str], names: Mapping[str, str], depth: int) -> str:
    return f"Shared({inner['layer']})"


def _graph(layer: Graph, inner: Mapping[str, str], names: Mapping[str, str], depth: int) -> str:
    nodes = {}
    for name, (owner, *sources) in layer.nodes.items():
        made = literal(names[owner]) if isinstance(owner, str) else inner[name]
        nodes[names[name]] = f"({', '.join([made, *(literal(names[source]) for source in sources)])})"
    outputs, inputs = (tuple(names[name] for name in some) for some in (layer.outputs, layer.inputs))
    return f"Graph({_table(nodes, depth)}, {literal(outputs)}, {literal(inputs)})"


COMBINED: dict[type[Layer], Callable[[Any, Mapping[str, str], Mapping[str, str], int], str]] = {
    Sequential: _sequential,
    Parallel: _parallel,
    Fork: _fork,
    Shared: _shared,
    Graph: _graph,
}


def _table(entries: Mapping[str, str], depth: int) -> str:
    if not entries:
        return "{}"
    lines = [f"{INDENT * (depth + 1)}{literal(name)}: {text}," for name, text in entries.items()]
    return "\n".join(["{", *lines, f"{INDENT * depth}}}"])


def _names(layer: Combinator) -> dict[str, str]:
    """Return what the children are called as modules: their names, but for those that PyTorch's modules need."""
    known: Iterable[str] = (*layer.nodes, *layer.inputs) if isinstance(layer, Graph) else layer.layers
    fixed = isinstance(layer, Parallel | Shared)  # of which merge and layer are the modules' own
    names: dict[str, str] = {}
    for name in known:
        free = name
        while (free in TAKEN and not (fixed and name in ("merge", "layer"))) or free in names.values():
            free += "_"
        names[name] = free
    return names
