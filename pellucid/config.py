"""Networks, losses and metrics as JSON, and back: the description in a weights file."""

import dataclasses
import inspect
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast, get_type_hints

from pellucid.calls import Checked
from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.errors import PellucidError, nearest
from pellucid.layers import LAYERS
from pellucid.layers.base import Layer
from pellucid.losses import LOSSES, Loss
from pellucid.metrics import METRICS, Metric, MetricLike, function_name
from pellucid.metrics.base import MissingMetric
from pellucid.settings.annotations import Format, convert, slots
from pellucid.settings.checks import check
from pellucid.text import note_once, shown


class Part(metaclass=Checked):
    """Base class of other classes that a file may name, such as pellucid.Objective.

    In functions and messages of this module, a part is any object that a file may name: a layer, a loss, a metric, or
    an instance of a subclass of Part.
    """


# Pellucid's own types that a file can name. Besides them, a file can only name the classes that the program has
# registered or passed as `custom`; any other name is an error, so that no file can run other code.
TYPES: dict[str, type[Any]] = {
    **{layer.__name__: layer for layer in LAYERS},
    **{loss.__name__: loss for loss in LOSSES.values()},
    **{metric.__name__: metric for metric in METRICS.values()},
    "Sequential": Sequential,
    "Parallel": Parallel,
    "Fork": Fork,
    "Shared": Shared,
    "Graph": Graph,
}
NAMED: tuple[type[Any], ...] = (Layer, Loss, Metric, Part)  # base classes of the types that a file can name
REGISTERED: dict[str, Any] = {}  # user-defined subclasses of these, and functions that are metrics, by name
MAX_DEPTH = 128  # nesting depth of objects and lists; a layer inside a layer takes two or three
MAX_LAYERS = 10_000
MAX_VALUES = 100_000  # numbers, texts, lists and objects together, so that no file takes long to read
LIMITS = "PELLUCID_LIMITS"  # environment variable: a factor of MAX_LAYERS and MAX_VALUES, for the user's own files
LIMITS_HINT = f"make it smaller, or raise the limits for files of your own, such as {LIMITS}=10"
JSON = Format(
    lists=(tuple,),  # decoded lists
    none=None,
    checks={
        int: lambda value: type(value) is int and abs(value) < 2**31,
        str: lambda value: type(value) is str,
        Any: lambda value: isinstance(value, Layer | str),  # in a Graph's node: its layer, or the name of another node
    },
)
T = TypeVar("T", bound=Layer | Loss | Metric | Part)


def raised(limit: int) -> int:
    """Return `limit` times the value of the environment variable PELLUCID_LIMITS, by default 1.

    Raises PellucidError unless the variable is a number of at least 1.
    """
    given = os.environ.get(LIMITS, "1")
    try:
        factor = float(given)
    except ValueError:
        factor = 0.0
    if not 1 <= factor < math.inf:
        raise PellucidError(f"{LIMITS} must be a number of at least 1, not {shown(given)}; change or unset it")
    return int(limit * factor)


def is_ours(value: object) -> bool:
    """Return whether a layer, loss or metric is an instance of exactly one of Pellucid's own classes."""
    return TYPES.get(type(value).__name__) is type(value)


def register(*parts: Any) -> None:
    """Register user-defined classes, and functions that are metrics, so that files can name them.

    Raises the errors of `known`, and PellucidError for a name under which another class or function is registered. A
    class that is defined again, as when a notebook's cell runs twice, replaces its earlier definition.
    """
    for name, part in known(parts).items():
        other = REGISTERED.get(name, part)
        if (other.__module__, other.__qualname__) != (part.__module__, part.__qualname__):
            raise PellucidError(
                f"{name}: {other.__module__}.{other.__qualname__} is already registered by this name; choose another"
            )
        REGISTERED[name] = part


def known(parts: Iterable[Any]) -> dict[str, Any]:
    """Return user-defined classes and functions by name.

    Raises PellucidError for anything but layers, losses, metrics and objectives, for a name that one of Pellucid's own
    classes or another of `parts` has, and for a class whose constructor has an argument that is not a field.
    """
    check_list(parts)
    found: dict[str, Any] = {}
    for part in parts:
        name = _check_part(part)
        if TYPES.get(name, part) is not part or name in METRICS:
            raise PellucidError(f"{name}: one of pellucid's own parts has this name; choose another")
        if found.setdefault(name, part) is not part:
            raise PellucidError(f"{name}: two of these have this name; choose another")
    return found


def check_list(parts: Any) -> None:
    """Raise PellucidError unless the value is a list or another iterable; its entries are not checked."""
    if inspect.isclass(parts) or not isinstance(parts, Iterable):
        raise PellucidError(f"custom takes a list of classes, [Scale, ...], not {shown(parts)}")


def check_fields(kind: type[Any]) -> None:
    """Raise PellucidError unless all arguments of a class's constructor are its fields, and none is called "type"."""
    if kind.__init__ in (Sequential.__init__, Fork.__init__, object.__init__):
        return
    names = {field.name for field in _fields(kind)}
    _, *arguments = inspect.signature(kind.__init__).parameters  # without self
    unknown = [name for name in arguments if name not in names]
    if unknown:
        raise PellucidError(
            f"{kind.__name__}: its constructor takes {unknown[0]!r}, which is not a field; make the class a dataclass: "
            "@dataclass(frozen=True), or @dataclass for a metric"
        )
    if "type" in names:
        raise PellucidError(
            f"{kind.__name__}: no field can be called 'type', the key for the class in a file; rename it"
        )


def to_config(value: Layer | Loss | Metric | Part, custom: Iterable[Any] = ()) -> dict[str, Any]:
    """Return the configuration of a part as JSON values: {"type": "Conv2d", "filters": 20, ...}, nested for children.

    The order of a combinator's children is part of the configuration, so JSON objects must keep their order. custom:
    further classes that are treated as registered. Raises PellucidError for a class that is not registered, and for a
    field whose value JSON cannot represent.
    """
    types = {**TYPES, **REGISTERED, **known(custom)}
    config = _encode(value, type(value).__name__, types)
    if any(not is_ours(part) for part in _parts(value)):
        rebuilt = _Reader(types).read(config, "network", 0, type(value))
        if _encode(rebuilt, type(value).__name__, types) != config:
            raise PellucidError(
                f"{type(value).__name__}: building it again from its fields gives another object; store the arguments "
                "of the constructor unchanged"
            )
    return config


def metrics_to_config(metrics: Sequence[MetricLike], custom: Iterable[Any] = ()) -> dict[str, Any]:
    """Return the entry "metrics" of a model's description: names, and results of `to_config`, whose errors this raises.

    {"unsaved": name} is a function that is not registered: a file cannot contain it, and inference does not need it.
    """
    custom = tuple(custom)
    registered = {**REGISTERED, **known(custom)}
    entries: list[Any] = []
    for metric in metrics:
        if isinstance(metric, str):
            entries.append(metric)
        elif isinstance(metric, MissingMetric):
            entries.append({"unsaved": metric.name})
        elif isinstance(metric, Metric):
            entries.append(to_config(metric, custom))
        elif (name := function_name(metric)) in {**TYPES, **registered} and registered.get(name) is not metric:
            raise _unregistered("metrics", name)
        else:
            entries.append(name if name in registered else {"unsaved": name})
    return {"metrics": entries}


def note_unsaved(metrics: Sequence[MetricLike], custom: Iterable[Any] = ()) -> None:
    """Print a note, once for each function that is not registered: a weights file contains only its name."""
    for entry in metrics_to_config(metrics, custom)["metrics"]:
        if not _is_unsaved(entry):
            continue
        name = entry["unsaved"]
        how = f"pellucid.register({name})" if name.isidentifier() else "define it by def, and register it"
        note_once(f"the metric {name} is not registered, so the weights file contains only its name; to save it: {how}")


def from_config(config: Any, custom: Iterable[Any] = ()) -> Layer:
    """Build a layer from its configuration by `to_config`.

    Raises PellucidError for unknown types, for fields that are unknown, missing or of a wrong type or value, and for
    more than MAX_DEPTH levels, MAX_LAYERS layers or MAX_VALUES values (the last two times PELLUCID_LIMITS).
    """
    return _Reader({**TYPES, **REGISTERED, **known(custom)}).read(config, "network", 0, Layer)


def loss_from_config(config: Any, custom: Iterable[Any] = ()) -> Loss:
    """Build a loss from its configuration by `to_config`; raises the errors of `from_config`."""
    return _Reader({**TYPES, **REGISTERED, **known(custom)}).read(config, "loss", 0, Loss)


def part_from_config(config: Any, custom: Iterable[Any] = ()) -> Part:
    """Build an objective from its configuration by `to_config`; raises the errors of `from_config`."""
    return _Reader({**TYPES, **REGISTERED, **known(custom)}).read(config, "objective", 0, Part)


def metric_from_config(config: Any, custom: Iterable[Any] = ()) -> MetricLike:
    """Return a metric from an entry of "metrics" by `metrics_to_config`; raises the errors of `from_config`.

    A function that was not registered when the file was written is a MissingMetric unless it is registered or given.
    """
    types = {**TYPES, **REGISTERED, **known(custom)}
    if _is_unsaved(config):
        check(isinstance(config["unsaved"], str), "metrics: unsaved", "the name of a function", config["unsaved"])
        found = {**REGISTERED, **known(custom)}.get(config["unsaved"])
        return MissingMetric(config["unsaved"]) if found is None or inspect.isclass(found) else found
    if not isinstance(config, str):
        return _Reader(types).read(config, "metrics", 0, Metric)
    if config in METRICS:
        return config
    if inspect.isclass(types.get(config, Metric)):
        raise _unknown("metrics", "metric", config, METRICS)
    return types[config]


def _is_unsaved(entry: Any) -> bool:
    """Return whether an entry of "metrics" is the name of a function that the file does not contain."""
    return isinstance(entry, dict) and set(cast("dict[str, Any]", entry)) == {"unsaved"}


def _check_part(part: Any) -> str:
    """Return the name of a class or function; PellucidError if it cannot be registered."""
    if not inspect.isclass(part):
        name = function_name(part) if inspect.isroutine(part) else ""
        if not name.isidentifier():
            raise PellucidError(
                f"{shown(part)} cannot be registered; give a class, or a function that is defined by def"
            )
        return name
    if not issubclass(part, NAMED):
        raise PellucidError(f"{part.__name__} cannot be registered: it is not a layer, loss, metric or objective")
    missing = sorted(getattr(part, "__abstractmethods__", ()))
    if missing:
        raise PellucidError(f"{part.__name__} is not complete: it needs the method {missing[0]}")
    check_fields(part)
    try:
        get_type_hints(part)
    except (NameError, TypeError, AttributeError) as error:
        raise PellucidError(
            f"{part.__name__}: its annotations cannot be read ({error}); use types that exist"
        ) from error
    return part.__name__


def _fields(kind: Any) -> list[Any]:
    """Return the fields of a class that its constructor takes; none for a class that is not a dataclass."""
    return [field for field in dataclasses.fields(kind) if field.init] if dataclasses.is_dataclass(kind) else []


def _encode(value: Any, where: str, types: Mapping[str, Any]) -> Any:
    if isinstance(value, NAMED):
        kind = type(value)
        if types.get(kind.__name__) is not kind:
            raise _unregistered(where, kind.__name__)
        hints = {} if is_ours(value) else get_type_hints(kind)
        config = {"type": kind.__name__}
        for field in _fields(kind):
            field_value = getattr(value, field.name)
            config[field.name] = _encode(field_value, f"{where}.{field.name}", types)
            if hints and not convert(field_value, hints[field.name], JSON)[0]:
                raise PellucidError(
                    f"{where}: the field {field.name!r} is {shown(field_value)}, but annotated as "
                    f"{getattr(field.type, '__name__', field.type)}; annotate it with the type of its value"
                )
        return config
    if isinstance(value, Mapping):
        return {str(name): _encode(part, f"{where}.{name}", types) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [_encode(part, where, types) for part in value]
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise PellucidError(
        f"{where} is {shown(value)}, which a file cannot contain; use finite numbers, texts, tuples, layers or None"
    )


def _parts(value: Any) -> Iterable[Any]:
    """Yield a part, and all parts nested in its fields."""
    if isinstance(value, NAMED):
        yield value
        for field in _fields(type(value)):
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, Mapping | tuple | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _parts(part)


def _unregistered(where: str, name: str) -> PellucidError:
    known = f", but another class or function is registered as {name}" if name in {**TYPES, **REGISTERED} else ""
    how = f"register it: pellucid.register({name})" if name.isidentifier() else "define it by def, and register it"
    return PellucidError(f"{where}: {name} is not registered, so no file can name it{known}; {how}")


def _unknown(where: str, what: str, name: str, names: Iterable[str]) -> PellucidError:
    """Return the error for an unknown name in a file."""
    name = name[:80]
    text = f"{where}: no {what} is called {name!r}{nearest(name, list(names))}"
    how = f"; register it: pellucid.register({name}) or Model.load(path, custom=[{name}]); in a shell, --custom FILE.py"
    return PellucidError(f"{text}{how if name.isidentifier() else ''}")


class _Reader:
    """Builds parts from one configuration, counting the values and layers against the limits."""

    def __init__(self, types: Mapping[str, Any]) -> None:
        self.types = types
        self.layers = 0
        self.values = 0

    def read(self, config: Any, where: str, depth: int, base: type[T]) -> T:
        if not isinstance(config, dict) or not isinstance(config.get("type"), str):
            raise PellucidError(f"{where}: expected an object with its 'type', not {shown(config)}")
        name = config["type"]
        kind = self.types.get(name)
        if not inspect.isclass(kind) or not issubclass(kind, base):
            known = [name for name, kind in self.types.items() if inspect.isclass(kind) and issubclass(kind, base)]
            raise _unknown(where, base.__name__.lower(), name, known)
        self.layers += 1
        if self.layers > raised(MAX_LAYERS):
            raise PellucidError(f"network: there are more than {raised(MAX_LAYERS)} layers; {LIMITS_HINT}")
        where = f"{where}.{name}"
        fields = slots(kind) if dataclasses.is_dataclass(kind) else {}
        values: dict[str, Any] = {}
        for key, value in config.items():
            if key == "type":
                continue
            if key not in fields:
                raise PellucidError(f"{where}: there is no field {key[:80]!r}{nearest(key[:80], fields)}")
            values[key] = self.decode(value, f"{where}.{key}", depth + 1)
            if not convert(values[key], fields[key].kind, JSON)[0]:
                raise PellucidError(f"{where}: {key} cannot be {shown(value)}; use a file that pellucid wrote")
        for key, slot in fields.items():
            if key not in values and slot.default is dataclasses.MISSING:
                raise PellucidError(f"{where}: the field {key!r} is missing; use a file that pellucid wrote")
        return _build(kind, values, where)

    def decode(self, value: Any, where: str, depth: int) -> Any:
        self.values += 1
        if depth > MAX_DEPTH:
            raise PellucidError(f"network: layers are nested in more than {MAX_DEPTH} levels; make it flatter")
        if self.values > raised(MAX_VALUES):
            raise PellucidError(f"network: there are more than {raised(MAX_VALUES)} values; {LIMITS_HINT}")
        if isinstance(value, dict):
            if isinstance(value.get("type"), str):
                kind = self.types.get(value["type"])
                base = next((base for base in NAMED if inspect.isclass(kind) and issubclass(kind, base)), Layer)
                return self.read(value, where, depth, base)
            return {name: self.decode(part, f"{where}.{name[:80]}", depth + 1) for name, part in value.items()}
        if isinstance(value, list):
            return tuple(self.decode(part, where, depth + 1) for part in value)
        return value


def _build(kind: Any, values: dict[str, Any], where: str) -> Any:
    try:
        if kind.__init__ is Sequential.__init__:
            return kind(**values["children"])
        if kind.__init__ is Fork.__init__:
            return kind(**values["heads"])
        return kind(**values)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PellucidError(f"{where}: cannot be built ({' '.join(str(error).split())})") from error
