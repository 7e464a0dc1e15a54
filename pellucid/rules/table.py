"""Composites: tables of rules, in which the first row that matches a layer gives its rule."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, cast

from pellucid.base.errors import PellucidError, nearest
from pellucid.combine.base import walk
from pellucid.layers.base import Layer, Trait
from pellucid.rules.without_weights import own
from pellucid.sweep import Rule

# The layers that a row matches: a type, a trait, a pattern of paths ("features.*.conv1"), a predicate, or a tuple of
# these, of which any may match.
LayerSelector = type[Layer] | Trait | str | Callable[[str, Layer], bool] | tuple[Any, ...]

TableRow = tuple[LayerSelector, Rule]


@dataclass(frozen=True)
class Table:
    """Ordered rows (layers, rule): a layer has the rule of the first row that matches it, or the rule `otherwise`."""

    rows: tuple[TableRow, ...]
    otherwise: Rule = own

    def __call__(self, path: str, layer: Layer) -> Rule:
        """Return the rule for the layer at `path`."""
        return next((rule for selector, rule in self.rows if matches(selector, path, layer)), self.otherwise)

    def check(self, net: Layer) -> None:
        """Raise PellucidError if a pattern of paths matches no layer of `net`."""
        paths = [path for path, _ in walk(net)]
        for pattern in (pattern for selector, _ in self.rows for pattern in _patterns(selector)):
            if not any(fnmatchcase(path, pattern) for path in paths):
                raise PellucidError(f"a rule is given for {pattern!r}, which matches no layer{nearest(pattern, paths)}")


def composite(*rows: TableRow, otherwise: Rule = own) -> Table:
    """Return a table with these rows, such as `composite((Conv2d, ZPlus()), ("head.*", Epsilon()))`."""
    return Table(rows, otherwise)


def matches(selector: LayerSelector, path: str, layer: Layer) -> bool:
    """Return whether a row matches the layer at `path`."""
    if isinstance(selector, tuple):
        return any(matches(choice, path, layer) for choice in cast("tuple[LayerSelector, ...]", selector))
    if isinstance(selector, str):
        return fnmatchcase(path, selector)
    if isinstance(selector, Trait):
        return selector in layer.traits
    if isinstance(selector, type):
        return isinstance(layer, selector)
    return selector(path, layer)


def _patterns(selector: LayerSelector) -> list[str]:
    if isinstance(selector, tuple):
        return [pattern for choice in cast("tuple[LayerSelector, ...]", selector) for pattern in _patterns(choice)]
    return [selector] if isinstance(selector, str) else []
