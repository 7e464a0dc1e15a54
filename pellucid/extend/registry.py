"""The classes and functions that files can name: built-in ones, and those that users register."""

import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any, get_type_hints

from pellucid.base.errors import PellucidError
from pellucid.base.settings.arguments import Checked
from pellucid.base.text import shown
from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.layers import LAYERS
from pellucid.layers.base import Layer
from pellucid.losses import LOSSES, Loss
from pellucid.metrics import METRICS, Metric, function_name
from pellucid.operators import OPERATORS


class Part(metaclass=Checked):
    """Base class of objects that a file may name other than layers, losses and metrics, such as pellucid.Objective.

    In names and messages of this module and of pellucid.extend.config, a part is any object that a file may name: a
    layer, a loss, a metric, or an instance of a subclass of Part.
    """


# Pellucid's own types that a file can name. In addition, a file can name only the classes that the program has
# registered or passed as `custom`; any other name is an error, so no file can run other code.
TYPES: dict[str, type[Any]] = {
    **{layer.__name__: layer for layer in (*LAYERS, *OPERATORS)},
    **{loss.__name__: loss for loss in LOSSES.values()},
    **{metric.__name__: metric for metric in METRICS.values()},
    "Sequential": Sequential,
    "Parallel": Parallel,
    "Fork": Fork,
    "Shared": Shared,
    "Graph": Graph,
}
PART_BASES: tuple[type[Any], ...] = (Layer, Loss, Metric, Part)  # base classes of the types that a file can name
REGISTERED: dict[str, Any] = {}  # user-defined subclasses of PART_BASES, and functions that are metrics, by name


def is_ours(value: object) -> bool:
    """Return whether a layer, loss or metric is an instance of exactly one of Pellucid's own classes."""
    return TYPES.get(type(value).__name__) is type(value)


def register(*parts: Any) -> None:
    """Register user-defined classes, and functions that are metrics, so that files can name them.

    Raises the errors of `parts_by_name`, and PellucidError for a name under which another class or function is
    registered. A class that is defined twice, for example by a notebook's cell, replaces its earlier definition.
    """
    for name, part in parts_by_name(parts).items():
        registered = REGISTERED.get(name, part)
        if (registered.__module__, registered.__qualname__) != (part.__module__, part.__qualname__):
            raise PellucidError(
                f"{name}: {registered.__module__}.{registered.__qualname__} is already registered by this name; "
                "choose another"
            )
        REGISTERED[name] = part


def types(custom: Iterable[Any] = ()) -> dict[str, Any]:
    """Return all parts that a file can name, by name, including `custom`; raises the errors of `parts_by_name`."""
    return {**TYPES, **REGISTERED, **parts_by_name(custom)}


def parts_by_name(parts: Iterable[Any]) -> dict[str, Any]:
    """Return user-defined classes and functions by name.

    Raises PellucidError for anything but layers, losses, metrics and objectives, for a name that one of Pellucid's own
    classes or another entry of `parts` has, and for a class whose constructor has an argument that is not a field.
    """
    check_list(parts)
    by_name: dict[str, Any] = {}
    for part in parts:
        name = _check_part(part)
        if TYPES.get(name, part) is not part or name in METRICS:
            raise PellucidError(f"{name}: one of pellucid's own parts has this name; choose another")
        if by_name.setdefault(name, part) is not part:
            raise PellucidError(f"{name}: two of these have this name; choose another")
    return by_name


def check_list(parts: Any) -> None:
    """Raise PellucidError unless the value is a list or another iterable; its entries are not checked."""
    if inspect.isclass(parts) or not isinstance(parts, Iterable):
        raise PellucidError(f"custom takes a list of classes, [Scale, ...], not {shown(parts)}")


def check_fields(part_class: type[Any]) -> None:
    """Raise PellucidError unless all arguments of a class's constructor are its fields, and none is called "type"."""
    if part_class.__init__ in (Sequential.__init__, Fork.__init__, object.__init__):
        return
    field_names = {field.name for field in fields_of(part_class)}
    _, *arguments = inspect.signature(part_class.__init__).parameters  # without self
    unknown_arguments = [name for name in arguments if name not in field_names]
    if unknown_arguments:
        raise PellucidError(
            f"{part_class.__name__}: its constructor takes {unknown_arguments[0]!r}, which is not a field; make the "
            "class a dataclass: @dataclass(frozen=True), or @dataclass for a metric"
        )
    if "type" in field_names:
        raise PellucidError(
            f"{part_class.__name__}: no field can be called 'type', the key for the class in a file; rename it"
        )


def _check_part(part: Any) -> str:
    """Return the name of a class or function; raises PellucidError if it cannot be registered."""
    if not inspect.isclass(part):
        name = function_name(part) if inspect.isroutine(part) else ""
        if not name.isidentifier():
            raise PellucidError(
                f"{shown(part)} cannot be registered; give a class, or a function that is defined by def"
            )
        return name
    if not issubclass(part, PART_BASES):
        raise PellucidError(f"{part.__name__} cannot be registered: it is not a layer, loss, metric or objective")
    missing_methods = sorted(getattr(part, "__abstractmethods__", ()))
    if missing_methods:
        raise PellucidError(f"{part.__name__} is not complete: it needs the method {missing_methods[0]}")
    check_fields(part)
    try:
        get_type_hints(part)
    except (NameError, TypeError, AttributeError) as error:
        raise PellucidError(
            f"{part.__name__}: its annotations cannot be read ({error}); use types that exist"
        ) from error
    return part.__name__


def fields_of(kind: Any) -> list[Any]:
    """Return the fields of a class that are arguments of its constructor; [] for a class that is not a dataclass."""
    return [field for field in dataclasses.fields(kind) if field.init] if dataclasses.is_dataclass(kind) else []
