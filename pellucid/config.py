"""Networks and losses as JSON, and back: what a weights file says about the network whose weights it holds."""

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.errors import PellucidError, nearest
from pellucid.layers import LAYERS
from pellucid.layers.base import Layer
from pellucid.losses import LOSSES, Loss

# The only types that a file can name: a name that is not here is an error, so that no file can name code to run.
TYPES: dict[str, type[Layer] | type[Loss]] = {
    **{layer.__name__: layer for layer in LAYERS},
    **{loss.__name__: loss for loss in LOSSES.values()},
    "Sequential": Sequential,
    "Parallel": Parallel,
    "Fork": Fork,
    "Shared": Shared,
    "Graph": Graph,
}
DEEPEST = 128  # objects and lists inside one another: two or three for a layer inside a layer
MOST_LAYERS = 10_000
MOST_VALUES = 100_000  # of all kinds, so that no short file takes long to read
_LARGEST = 2**31 - 1
T = TypeVar("T", Layer, Loss)


def to_config(value: Layer | Loss) -> dict[str, Any]:
    """Return a layer or loss as values that JSON knows: {"type": "Conv2d", "filters": 20, ...}, children inside.

    The order of a combinator's children counts, so the objects must keep their order.
    Raises PellucidError for one that is not Pellucid's own: a file could not name it.
    """
    name = type(value).__name__
    if TYPES.get(name) is not type(value):
        raise PellucidError(f"{name} is not one of pellucid's own, so no file can name it; build it from those")
    fields = {field.name: _encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return {"type": name, **fields}


def from_config(config: Any) -> Layer:
    """Build the layer that `to_config` described.

    Raises PellucidError for unknown types, for fields that are unknown, missing or of a wrong type or value,
    and for more than 128 levels, 10,000 layers or 100,000 values.
    """
    return _Reader().read(config, "network", 0, Layer)


def loss_from_config(config: Any) -> Loss:
    """Build the loss that `to_config` described; raises as `from_config` does."""
    return _Reader().read(config, "loss", 0, Loss)


def _encode(value: Any) -> Any:
    if isinstance(value, Layer):
        return to_config(value)
    if isinstance(value, Mapping):
        return {str(name): _encode(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [_encode(part) for part in value]
    return value


class _Reader:
    """Builds one network, counting what it reads."""

    def __init__(self) -> None:
        self.layers = 0
        self.values = 0

    def read(self, config: Any, where: str, depth: int, base: type[T]) -> T:
        if not isinstance(config, dict) or not isinstance(config.get("type"), str):
            raise PellucidError(f"{where}: expected an object with its 'type', not {_short(config)}")
        name = config["type"]
        kind = TYPES.get(name)
        if kind is None or not issubclass(kind, base):
            known = [name for name, kind in TYPES.items() if issubclass(kind, base)]
            raise PellucidError(
                f"{where}: no {base.__name__.lower()} is called {name[:80]!r}{nearest(name[:80], known)}"
            )
        self.layers += 1
        if self.layers > MOST_LAYERS:
            raise PellucidError(f"network: there are more than {MOST_LAYERS} layers; make it smaller")
        where = f"{where}.{name}"
        hints = get_type_hints(kind)
        fields = {field.name: field for field in dataclasses.fields(kind)}
        values: dict[str, Any] = {}
        for key, value in config.items():
            if key == "type":
                continue
            if key not in fields:
                raise PellucidError(f"{where}: there is no field {key[:80]!r}{nearest(key[:80], fields)}")
            values[key] = self.decode(value, f"{where}.{key}", depth + 1)
            if not _fits(values[key], hints[key]):
                raise PellucidError(f"{where}: {key} cannot be {_short(value)}; use a file that pellucid wrote")
        for key, field in fields.items():
            if key not in values and field.default is dataclasses.MISSING:
                raise PellucidError(f"{where}: the field {key!r} is missing; use a file that pellucid wrote")
        return _build(kind, values, where)

    def decode(self, value: Any, where: str, depth: int) -> Any:
        self.values += 1
        if depth > DEEPEST:
            raise PellucidError(f"network: layers lie in more than {DEEPEST} levels; make it flatter")
        if self.values > MOST_VALUES:
            raise PellucidError(f"network: there are more than {MOST_VALUES} values; make it smaller")
        if isinstance(value, dict):
            if isinstance(value.get("type"), str):
                return self.read(value, where, depth, Layer)
            return {name: self.decode(part, f"{where}.{name[:80]}", depth + 1) for name, part in value.items()}
        if isinstance(value, list):
            return tuple(self.decode(part, where, depth + 1) for part in value)
        return value


def _build(kind: Any, values: dict[str, Any], where: str) -> Any:
    try:
        if kind is Sequential:
            return Sequential(**values["children"])
        if kind is Fork:
            return Fork(**values["heads"])
        return kind(**values)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PellucidError(f"{where}: cannot be built ({' '.join(str(error).split())})") from error


# Annotations that are no containers, and what fits them; bool is no int here, and numbers are finite.
PLAIN: dict[Any, Callable[[Any], bool]] = {
    int: lambda value: type(value) is int and abs(value) <= _LARGEST,
    float: lambda value: type(value) in (int, float) and math.isfinite(value),
    bool: lambda value: type(value) is bool,
    str: lambda value: type(value) is str,
    None: lambda value: value is None,
    type(None): lambda value: value is None,
    Any: lambda value: isinstance(value, Layer | str),  # the layer of a Graph's node, or the names of others
}


def _fits(value: Any, hint: Any) -> bool:
    """Tell whether a value has the type that a field's annotation asks for."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is Literal:
        return any(type(value) is type(arg) and value == arg for arg in args)
    if origin is tuple and isinstance(value, tuple):
        kinds = args[:1] * len(value) if args[1:] == (...,) else args
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(_fits(part, args[1]) for part in value.values())
    return PLAIN[hint](value) if hint in PLAIN else isinstance(value, origin or hint)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
