"""The settings that affect the result of a training: their descriptions in a checkpoint, and their comparison."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, is_dataclass
from typing import Any, cast

from pellucid.data import Source
from pellucid.extend.registry import PART_BASES, fields_of
from pellucid.metrics import Metric, MetricLike, function_name
from pellucid.metrics.base import MissingMetric
from pellucid.objective import Supervised
from pellucid.training.device import usable_precision
from pellucid.training.learner import Learner

EPOCHS_SETTING = "number of epochs"  # the name of a setting
# Settings that a weights file describes anyway, by the key of this description.
KEYS_IN_FILE = {
    "network": "network",
    "loss": "loss",
    "objective": "objective",
    "metrics": "metrics",
    "classes": "classes",
    "preprocessing": "preprocess",
}


def training_settings(
    model: Learner,
    preprocess: Mapping[str, Any],
    data: Source,
    validation: Source | None,
    epochs: int,
    batch_size: int,
    augment: object,
    division: Mapping[str, object],
) -> dict[str, Any]:
    """Return the settings that affect the result of a training, by name.

    division: settings of the division of batches among processes.
    """
    objective = model.objective
    is_supervised = isinstance(objective, Supervised)
    settings: dict[str, Any] = {
        "data": data.checksum,
        "validation data": "" if validation is None else validation.checksum,
        **({"network": objective.net, "loss": objective.loss} if is_supervised else {"objective": objective}),
        "optimizer": model.optimizers or model.optimizer,
        "schedule": model.schedule,
        "regularizer": model.regularizers,
        "augmentation": augment if is_dataclass(augment) else getattr(augment, "__qualname__", type(augment)),
        "preprocessing": _sorted_json(preprocess),
        EPOCHS_SETTING: epochs,
        "batch size": batch_size,
        **({} if division == {"shards": 1} else division),
        "clipping": model.clip,
        **({} if model.average is None else {"average of the weights": model.average}),
        "precision": usable_precision(model.precision, model.device)[0],
        "seed": model.seed,
        **({"earlier steps": model.earlier_steps} if model.earlier_steps else {}),
        "metrics": tuple(map(_metric_setting, model.metrics)),
        "classes": model.classes,
        "frozen parameters": sorted(model.frozen),
        "rates by path": sorted(model.rates.items()),
    }
    if model.device.type != "cpu":
        settings["device"] = model.device.type
    return settings


def describe_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON values for a checkpoint, except those that its file describes anyway."""
    return {name: describe(value) for name, value in settings.items() if name not in KEYS_IN_FILE}


def saved_settings(progress: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the descriptions of settings in a checkpoint: those that were saved, and those of the file's model."""
    settings_in_file = {name: about[key] for name, key in KEYS_IN_FILE.items() if key in about}
    metrics = settings_in_file.get("metrics")
    if isinstance(metrics, list):
        settings_in_file["metrics"] = [_metric_name(entry) for entry in cast(list[Any], metrics)]
    settings_in_file["preprocessing"] = _sorted_json(settings_in_file.get("preprocessing", {}))
    return {**progress["settings"], **settings_in_file}


def is_unchanged(saved: Any, value: Any) -> bool:
    """Return whether a saved description is that of a setting.

    A field that the description lacks was added by a later version, and must have its default value. Up to version
    0.2.0, a checkpoint contains hashes in place of descriptions.
    """
    return saved == digest(value) or _is_same(saved, value)


def digest(value: Any) -> str:
    """Return a hash of 16 hexadecimal digits of a text, or of a value's complete repr."""
    text = value if isinstance(value, str) else repr(value)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe(value: Any) -> Any:
    """Return a setting as JSON values: an object as its type and fields, and as its repr if it has no fields."""
    if _has_fields(value):
        fields = {field.name: describe(getattr(value, field.name)) for field in fields_of(type(value))}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(name): describe(item) for name, item in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, tuple | list):
        return [describe(item) for item in cast(list[Any], value)]
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return repr(value)


def _is_same(saved: Any, value: Any) -> bool:
    """Return whether a description is that of a value, apart from fields that it lacks and that have their default."""
    if _has_fields(value):
        return isinstance(saved, dict) and _has_same_fields(cast(dict[str, Any], saved), value)
    if isinstance(value, Mapping):
        items = {str(name): item for name, item in cast(Mapping[Any, Any], value).items()}
        # The order matters: it is that of the layers of a network.
        has_same_names = isinstance(saved, dict) and list(cast(dict[str, Any], saved)) == list(items)
        return has_same_names and all(_is_same(saved[name], item) for name, item in items.items())
    if isinstance(value, tuple | list):
        elements = cast(list[Any], value)
        has_same_length = isinstance(saved, list) and len(cast(list[Any], saved)) == len(elements)
        return has_same_length and all(map(_is_same, cast(list[Any], saved), elements))
    return saved == describe(value)


def _has_same_fields(saved: dict[str, Any], value: Any) -> bool:
    """Return whether a description has the type and the fields of a value."""
    # A hash of all fields would differ as soon as a version adds one; leaving out all fields at their default would
    # accept a default that a version has changed.
    fields = {field.name: field for field in fields_of(type(value))}
    has_unknown_field = not saved.keys() <= {"type", *fields}
    if has_unknown_field or saved.get("type") != type(value).__name__:
        return False
    return all(
        _is_same(saved[name], getattr(value, name)) if name in saved else _has_default(value, field)
        for name, field in fields.items()
    )


def _has_fields(value: Any) -> bool:
    return isinstance(value, PART_BASES) or (is_dataclass(value) and not isinstance(value, type))


def _has_default(value: Any, field: Any) -> bool:
    if field.default is not MISSING:
        return getattr(value, field.name) == field.default
    return field.default_factory is not MISSING and getattr(value, field.name) == field.default_factory()


def _sorted_json(values: Any) -> str:
    return json.dumps(values, sort_keys=True)


def _metric_setting(metric: MetricLike) -> Any:
    """Return a metric whose fields are compared, or the name of any other metric."""
    if isinstance(metric, MissingMetric):
        return metric.name
    return metric if isinstance(metric, str | Metric) else function_name(metric)


def _metric_name(entry: Any) -> Any:
    """Return the name of a function that is not registered, and any other entry of "metrics" unchanged."""
    if not isinstance(entry, dict):
        return entry
    fields = cast(dict[str, Any], entry)
    return fields["unsaved"] if list(fields) == ["unsaved"] else fields
