"""Conversion of networks, losses and metrics to JSON values and back, for the description in a weights file."""

import dataclasses
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast, get_type_hints

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.limits import (
    LIMITS_HINT,
    MAX_DESCRIBED_LAYERS,
    MAX_DESCRIBED_LEVELS,
    MAX_DESCRIBED_VALUES,
    scaled_limit,
)
from pellucid.base.settings.annotations import ValueFormat, arguments_of, convert
from pellucid.base.settings.checks import check
from pellucid.base.text import note_once, shown
from pellucid.combine import Fork, Sequential
from pellucid.extend import registry
from pellucid.extend.registry import PART_BASES, Part, fields_of, is_ours
from pellucid.layers.base import Layer
from pellucid.losses import Loss
from pellucid.metrics import METRICS, Metric, MetricLike, function_name
from pellucid.metrics.base import MissingMetric

JSON_FORMAT = ValueFormat(
    lists=(tuple,),  # `_PartReader.decode` returns lists as tuples
    none=None,
    checks={
        int: lambda value: type(value) is int and abs(value) < 2**31,
        str: lambda value: type(value) is str,
        Any: lambda value: isinstance(value, Layer | str),  # in a Graph's node: its layer, or the name of another node
    },
)
T = TypeVar("T", bound=Layer | Loss | Metric | Part)


def to_config(value: Layer | Loss | Metric | Part, custom: Iterable[Any] = ()) -> dict[str, Any]:
    """Return the configuration of a part as JSON values: {"type": "Conv2d", "filters": 20, ...}, nested for children.

    The order of a combinator's children is part of the configuration, so JSON objects must keep their order. custom:
    additional classes that are treated as registered. Raises PellucidError for a class that is not registered, and for
    a field whose value JSON cannot represent.
    """
    types = registry.types(custom)
    config = _encode(value, type(value).__name__, types)
    if any(not is_ours(part) for part in _nested_parts(value)):
        rebuilt = _PartReader(types).read(config, "network", 0, type(value))
        if _encode(rebuilt, type(value).__name__, types) != config:
            raise PellucidError(
                f"{type(value).__name__}: building it again from its fields gives another object; store the arguments "
                "of the constructor unchanged"
            )
    return config


def metrics_to_config(metrics: Sequence[MetricLike], custom: Iterable[Any] = ()) -> dict[str, Any]:
    """Return the entry "metrics" of a model's description: a list of names and of results of `to_config`.

    {"unsaved": name} is a function that is not registered: a file cannot contain it, and inference does not need it.
    Raises the errors of `to_config`.
    """
    custom = tuple(custom)
    types = registry.types(custom)
    entries: list[Any] = []
    for metric in metrics:
        if isinstance(metric, str):
            entries.append(metric)
        elif isinstance(metric, MissingMetric):
            entries.append({"unsaved": metric.name})
        elif isinstance(metric, Metric):
            entries.append(to_config(metric, custom))
        elif (name := function_name(metric)) in types and types[name] is not metric:
            raise _unregistered_error("metrics", name)
        else:
            entries.append(name if name in types else {"unsaved": name})
    return {"metrics": entries}


def note_unsaved(metrics: Sequence[MetricLike], custom: Iterable[Any] = ()) -> None:
    """Print a note, once for each unregistered function in `metrics`: a weights file contains only its name."""
    for entry in metrics_to_config(metrics, custom)["metrics"]:
        if not _is_unsaved(entry):
            continue
        name = entry["unsaved"]
        advice = f"pellucid.register({name})" if name.isidentifier() else "define it by def, and register it"
        note_once(
            f"the metric {name} is not registered, so the weights file contains only its name; to save it: {advice}"
        )


def from_config(config: Any, custom: Iterable[Any] = ()) -> Layer:
    """Build a layer from its configuration by `to_config`.

    Raises PellucidError for unknown types, for fields that are unknown, missing or of a wrong type or value, and for
    more than MAX_DESCRIBED_LEVELS levels, MAX_DESCRIBED_LAYERS layers or MAX_DESCRIBED_VALUES values (the last two
    multiplied by PELLUCID_LIMITS).
    """
    return _PartReader(registry.types(custom)).read(config, "network", 0, Layer)


def loss_from_config(config: Any, custom: Iterable[Any] = ()) -> Loss:
    """Build a loss from its configuration by `to_config`; raises the errors of `from_config`."""
    return _PartReader(registry.types(custom)).read(config, "loss", 0, Loss)


def part_from_config(config: Any, custom: Iterable[Any] = ()) -> Part:
    """Build an objective from its configuration by `to_config`; raises the errors of `from_config`."""
    return _PartReader(registry.types(custom)).read(config, "objective", 0, Part)


def metric_from_config(config: Any, custom: Iterable[Any] = ()) -> MetricLike:
    """Return a metric from an entry of "metrics" by `metrics_to_config`; raises the errors of `from_config`.

    A function that was not registered when the file was written becomes a MissingMetric unless it is registered now or
    is in `custom`.
    """
    types = registry.types(custom)
    if _is_unsaved(config):
        check(isinstance(config["unsaved"], str), "metrics: unsaved", "the name of a function", config["unsaved"])
        function = types.get(config["unsaved"])
        return MissingMetric(config["unsaved"]) if function is None or inspect.isclass(function) else function
    if not isinstance(config, str):
        return _PartReader(types).read(config, "metrics", 0, Metric)
    if config in METRICS:
        return config
    if inspect.isclass(types.get(config, Metric)):
        raise _unknown_error("metrics", "metric", config, METRICS)
    return types[config]


def _is_unsaved(entry: Any) -> bool:
    """Return whether an entry of "metrics" is the name of a function that the file does not contain."""
    return isinstance(entry, dict) and set(cast("dict[str, Any]", entry)) == {"unsaved"}


def _encode(value: Any, where: str, types: Mapping[str, Any]) -> Any:
    if isinstance(value, PART_BASES):
        part_class = type(value)
        if types.get(part_class.__name__) is not part_class:
            raise _unregistered_error(where, part_class.__name__)
        annotations = {} if is_ours(value) else get_type_hints(part_class)
        config = {"type": part_class.__name__}
        for field in fields_of(part_class):
            field_value = getattr(value, field.name)
            config[field.name] = _encode(field_value, f"{where}.{field.name}", types)
            if annotations and not convert(field_value, annotations[field.name], JSON_FORMAT)[0]:
                raise PellucidError(
                    f"{where}: the field {field.name!r} is {shown(field_value)}, but annotated as "
                    f"{getattr(field.type, '__name__', field.type)}; annotate it with the type of its value"
                )
        return config
    if isinstance(value, Mapping):
        return {str(name): _encode(item, f"{where}.{name}", types) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_encode(item, where, types) for item in value]
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise PellucidError(
        f"{where} is {shown(value)}, which a file cannot contain; use finite numbers, texts, tuples, layers or None"
    )


def _nested_parts(value: Any) -> Iterable[Any]:
    """Yield a part, and all parts nested in its fields."""
    if isinstance(value, PART_BASES):
        yield value
        for field in fields_of(type(value)):
            yield from _nested_parts(getattr(value, field.name))
    elif isinstance(value, Mapping | tuple | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _nested_parts(item)


def _unregistered_error(where: str, name: str) -> PellucidError:
    conflict = f", but another class or function is registered as {name}" if name in registry.types() else ""
    advice = f"register it: pellucid.register({name})" if name.isidentifier() else "define it by def, and register it"
    return PellucidError(f"{where}: {name} is not registered, so no file can name it{conflict}; {advice}")


def _unknown_error(where: str, kind: str, name: str, known: Iterable[str]) -> PellucidError:
    """Return the error for an unknown name in a file."""
    name = name[:80]
    text = f"{where}: no {kind} is called {name!r}{nearest(name, list(known))}"
    advice = (
        f"; register it: pellucid.register({name}) or Model.load(path, custom=[{name}]); in a shell, --custom FILE.py"
    )
    return PellucidError(f"{text}{advice if name.isidentifier() else ''}")


class _PartReader:
    """Builds parts from one configuration, counting the values and layers against the limits."""

    def __init__(self, types: Mapping[str, Any]) -> None:
        self.types = types
        self.n_layers = 0
        self.n_values = 0

    def read(self, config: Any, where: str, depth: int, base: type[T]) -> T:
        if not isinstance(config, dict) or not isinstance(config.get("type"), str):
            raise PellucidError(f"{where}: expected an object with its 'type', not {shown(config)}")
        name = config["type"]
        part_class = self.types.get(name)
        if not inspect.isclass(part_class) or not issubclass(part_class, base):
            known = [
                name
                for name, part_class in self.types.items()
                if inspect.isclass(part_class) and issubclass(part_class, base)
            ]
            raise _unknown_error(where, base.__name__.lower(), name, known)
        self.n_layers += 1
        if self.n_layers > scaled_limit(MAX_DESCRIBED_LAYERS):
            raise PellucidError(
                f"network: there are more than {scaled_limit(MAX_DESCRIBED_LAYERS)} layers; {LIMITS_HINT}"
            )
        where = f"{where}.{name}"
        arguments = arguments_of(part_class) if dataclasses.is_dataclass(part_class) else {}
        values: dict[str, Any] = {}
        for key, value in config.items():
            if key == "type":
                continue
            if key not in arguments:
                raise PellucidError(f"{where}: there is no field {key[:80]!r}{nearest(key[:80], arguments)}")
            values[key] = self.decode(value, f"{where}.{key}", depth + 1)
            if not convert(values[key], arguments[key].annotation, JSON_FORMAT)[0]:
                raise PellucidError(f"{where}: {key} cannot be {shown(value)}; use a file that pellucid wrote")
        for key, argument in arguments.items():
            if key not in values and argument.default is dataclasses.MISSING:
                raise PellucidError(f"{where}: the field {key!r} is missing; use a file that pellucid wrote")
        return _build(part_class, values, where)

    def decode(self, value: Any, where: str, depth: int) -> Any:
        self.n_values += 1
        if depth > MAX_DESCRIBED_LEVELS:
            raise PellucidError(
                f"network: layers are nested in more than {MAX_DESCRIBED_LEVELS} levels; make it flatter"
            )
        if self.n_values > scaled_limit(MAX_DESCRIBED_VALUES):
            raise PellucidError(
                f"network: there are more than {scaled_limit(MAX_DESCRIBED_VALUES)} values; {LIMITS_HINT}"
            )
        if isinstance(value, dict):
            if isinstance(value.get("type"), str):
                part_class = self.types.get(value["type"])
                base = next(
                    (base for base in PART_BASES if inspect.isclass(part_class) and issubclass(part_class, base)), Layer
                )
                return self.read(value, where, depth, base)
            return {name: self.decode(item, f"{where}.{name[:80]}", depth + 1) for name, item in value.items()}
        if isinstance(value, list):
            return tuple(self.decode(item, where, depth + 1) for item in value)
        return value


def _build(part_class: Any, values: dict[str, Any], where: str) -> Any:
    try:
        if part_class.__init__ is Sequential.__init__:
            return part_class(**values["children"])
        if part_class.__init__ is Fork.__init__:
            return part_class(**values["heads"])
        return part_class(**values)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PellucidError(f"{where}: cannot be built ({' '.join(str(error).split())})") from error
