"""Values of files and command lines, read by the annotations of the classes and functions that take them."""

import dataclasses
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pellucid.settings.checks import is_number

_LISTS = (tuple, list, Sequence)


@dataclasses.dataclass(frozen=True)
class ValueFormat:
    """What the values of a kind of file are.

    lists: the types of lists that fit a tuple, and become one. none: the word that represents None where None is
    allowed; None for formats with a null. checks: whether a value fits an annotation such as `int`, `str` or `Any`.
    """

    lists: tuple[type, ...]
    none: str | None
    checks: Mapping[Any, Callable[[Any], bool]]


@dataclasses.dataclass(frozen=True)
class Slot:
    """An argument that a file may set: its type, and its default (MISSING if it must be given)."""

    kind: Any
    default: Any


def slots(target: Callable[..., Any]) -> dict[str, Slot]:
    """Return the fields of a dataclass, or the arguments of another class or function, with types and defaults."""
    hints = get_type_hints(target)
    if not dataclasses.is_dataclass(target):
        return {
            name: Slot(hints.get(name, Any), MISSING if one.default is one.empty else one.default)
            for name, one in inspect.signature(target).parameters.items()
        }
    return {
        field_.name: Slot(
            hints[field_.name], field_.default if field_.default_factory is MISSING else field_.default_factory()
        )
        for field_ in sorted(
            dataclasses.fields(target), key=lambda field: field.kw_only is True
        )  # as in the constructor
        if field_.init
    }


def convert(value: Any, kind: Any, form: ValueFormat) -> tuple[bool, Any]:
    """Return whether a value of a file fits an annotation, and the converted value: tuples, and floats for `float`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _convert_union(value, inner, form)
    if origin in _LISTS:
        return _convert_list(value, kind, form)
    if kind is float:
        return (True, float(value)) if is_number(value) else (False, None)
    if origin is Literal:
        return any(value == option and type(value) is type(option) for option in inner), value
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(convert(one, inner[1], form)[0] for one in value.values()), value
    return form.checks[kind](value) if kind in form.checks else isinstance(value, origin or kind), value


def _convert_union(value: Any, kinds: tuple[Any, ...], form: ValueFormat) -> tuple[bool, Any]:
    if type(None) in kinds and (value is None or (isinstance(value, str) and value == form.none)):
        return True, None
    for exact in (True, False):  # 3 is an int before it is a float
        for kind in kinds:
            if exact and kind in (int, float) and type(value) is not kind:
                continue
            fits, result = convert(value, kind, form)
            if fits:
                return True, result
    return False, None


def _convert_list(value: Any, kind: Any, form: ValueFormat) -> tuple[bool, Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(value, str) or not isinstance(value, form.lists if origin is tuple else origin):
        return False, None
    kinds = inner[:1] * len(value) if _any_length(kind) else inner
    if len(kinds) != len(value):
        return False, None
    tried = [convert(one, one_kind, form) for one, one_kind in zip(value, kinds, strict=True)]
    return all(fits for fits, _ in tried), tuple(result for _, result in tried)


def _any_length(kind: Any) -> bool:
    """Return whether the lists that a list type describes may have any length."""
    return get_origin(kind) is not tuple or get_args(kind)[1:] == (...,)


def name_of(kind: Any, none: str) -> str:
    """Return the name of a type for messages; `none` is the word for None."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(repr(option) for option in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(f"'{none}'" if one is type(None) else name_of(one, none) for one in inner)
    if origin in _LISTS and _any_length(kind):
        return f"a list of {_plural(inner[0], none)}"
    if origin in _LISTS:
        return f"a list of {len(inner)} values ({', '.join(name_of(one, none) for one in inner)})"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def _plural(kind: Any, none: str) -> str:
    return {int: "whole numbers", float: "numbers", str: "texts"}.get(kind, f"({name_of(kind, none)})")
