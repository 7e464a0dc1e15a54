"""Conversion of values in files and command lines to the annotated types of classes and functions."""

import dataclasses
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pellucid.base.settings.checks import is_number
from pellucid.base.text import plural

_LIST_TYPES = (tuple, list, Sequence)


@dataclasses.dataclass(frozen=True)
class ValueFormat:
    """The types of values in a kind of file.

    lists: the types of lists that fit an annotated tuple. none: the word that represents None if None is allowed; None
    for formats with a null value. checks: by annotation, such as `int`, `str` or `Any`, a function that returns whether
    a value fits it.
    """

    lists: tuple[type, ...]
    none: str | None
    checks: Mapping[Any, Callable[[Any], bool]]


@dataclasses.dataclass(frozen=True)
class Argument:
    """An argument that a file may set: its annotated type, and its default (MISSING if it must be given)."""

    annotation: Any
    default: Any


def arguments_of(target: Callable[..., Any]) -> dict[str, Argument]:
    """Return the arguments of a dataclass's constructor, or of another class or function, with types and defaults."""
    hints = get_type_hints(target)
    if not dataclasses.is_dataclass(target):
        return {
            name: Argument(hints.get(name, Any), MISSING if parameter.default is parameter.empty else parameter.default)
            for name, parameter in inspect.signature(target).parameters.items()
        }
    return {
        field_.name: Argument(
            hints[field_.name], field_.default if field_.default_factory is MISSING else field_.default_factory()
        )
        for field_ in sorted(
            dataclasses.fields(target), key=lambda field: field.kw_only is True
        )  # keyword-only fields are last, as in the constructor
        if field_.init
    }


# msgspec (0.22) crashes on bounds in a union, the annotation of every kernel and stride; pydantic (2.14) reports a
# wrong value in four lines. Both accept values that are refused here, such as 2^63. See docs/decisions.md.
def convert(value: Any, annotation: Any, value_format: ValueFormat) -> tuple[bool, Any]:
    """Return whether a value of a file fits an annotation, and the converted value.

    Lists become tuples, and integers become floats if the annotation is `float`; other values are unchanged.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, value_format)
    if origin in _LIST_TYPES:
        return _convert_list(value, annotation, value_format)
    if annotation is float:
        return (True, float(value)) if is_number(value) else (False, None)
    if origin is Literal:
        return any(value == option and type(value) is type(option) for option in arguments), value
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(
            convert(element, arguments[1], value_format)[0] for element in value.values()
        ), value
    return value_format.checks[annotation](value) if annotation in value_format.checks else isinstance(
        value, origin or annotation
    ), value


def _convert_union(value: Any, annotations: tuple[Any, ...], value_format: ValueFormat) -> tuple[bool, Any]:
    if type(None) in annotations and (value is None or (isinstance(value, str) and value == value_format.none)):
        return True, None
    for exact_type in (True, False):  # int is tried before float for 3, and float before int for 3.0
        for annotation in annotations:
            if exact_type and annotation in (int, float) and type(value) is not annotation:
                continue
            fits, result = convert(value, annotation, value_format)
            if fits:
                return True, result
    return False, None


def _convert_list(value: Any, annotation: Any, value_format: ValueFormat) -> tuple[bool, Any]:
    origin, element_types = get_origin(annotation), get_args(annotation)
    if isinstance(value, str) or not isinstance(value, value_format.lists if origin is tuple else origin):
        return False, None
    annotations = element_types[:1] * len(value) if _allows_any_length(annotation) else element_types
    if len(annotations) != len(value):
        return False, None
    conversions = [
        convert(element, element_annotation, value_format)
        for element, element_annotation in zip(value, annotations, strict=True)
    ]
    return all(fits for fits, _ in conversions), tuple(result for _, result in conversions)


def _allows_any_length(annotation: Any) -> bool:
    """Return whether lists of an annotated list type may have any length."""
    return get_origin(annotation) is not tuple or get_args(annotation)[1:] == (...,)


def name_of(annotation: Any, none_word: str) -> str:
    """Return the name of a type for messages; `none_word` is the word for None."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(repr(option) for option in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(
            f"'{none_word}'" if argument is type(None) else name_of(argument, none_word) for argument in arguments
        )
    if origin in _LIST_TYPES and _allows_any_length(annotation):
        return f"a list of {_plural_name(arguments[0], none_word)}"
    if origin in _LIST_TYPES:
        names = ", ".join(name_of(argument, none_word) for argument in arguments)
        return f"a list of {plural(len(arguments), 'value')} ({names})"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "values by name"}
    return names.get(origin or annotation, getattr(annotation, "__name__", str(annotation)))


def _plural_name(annotation: Any, none_word: str) -> str:
    return {int: "whole numbers", float: "numbers", str: "texts"}.get(annotation, f"({name_of(annotation, none_word)})")
