"""Values of TOML files and command lines: checked against declared types, and written as TOML."""

import dataclasses
import inspect
import json
import math
import tomllib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union

from pellucid.errors import PellucidError, nearest
from pellucid.text import shown

NONE = "none"  # TOML has no null: this word represents None where None is allowed
_MAX_INT = 2**63 - 1
_LISTS = (list, Sequence)
_CHECKS: dict[Any, Callable[[Any], bool]] = {
    bool: lambda value: type(value) is bool,
    int: lambda value: type(value) is int and abs(value) <= _MAX_INT,
    str: lambda value: type(value) is str and not any("\ud800" <= c <= "\udfff" for c in value),
}


@dataclasses.dataclass(frozen=True)
class Slot:
    """An argument that a table may set: its type, and its default (`MISSING` if it must be given)."""

    kind: Any
    default: Any = dataclasses.MISSING


def slots(target: Callable[..., Any]) -> dict[str, Slot]:
    """Return the arguments that a class or function takes by name, with their types and defaults."""
    hints = typing.get_type_hints(target)
    signature: inspect.Signature = inspect.signature(target)
    found: dict[str, Slot] = {}
    for name, parameter in signature.parameters.items():
        default = dataclasses.MISSING if parameter.default is parameter.empty else parameter.default
        found[name] = Slot(hints.get(name, Any), default)
    for field in dataclasses.fields(target) if dataclasses.is_dataclass(target) else ():
        if field.default_factory is not dataclasses.MISSING and field.name in found:
            found[field.name] = Slot(found[field.name].kind, field.default_factory())
    return found


def check_table(given: Mapping[str, Any], known: Mapping[str, Slot], where: str, table: str) -> dict[str, Any]:
    """Return every argument of a table, given or default, in the order of `known`.

    Raises PellucidError for an unknown key (with the nearest), a missing one, or a value of the wrong type;
    `where` is the file, `table` the table's name.
    """
    for key in given:
        if key not in known:
            hint = nearest(key, known).replace("'", f"'{table}.", 1) or f"; known: {', '.join(known) or 'none'}"
            raise PellucidError(f"{where}: unknown key '{table}.{key}'{hint}")
    values: dict[str, Any] = {}
    for key, slot in known.items():
        if key in given:
            values[key] = coerce(given[key], slot.kind, f"{where}: {table}.{key}")
        elif slot.default is dataclasses.MISSING:
            raise PellucidError(f"{where}: {table}.{key} is missing; give it {name_of(slot.kind)}")
        else:
            values[key] = slot.default
    return values


def coerce(value: Any, kind: Any, where: str) -> Any:
    """Return `value` converted to the type `kind`; raises PellucidError, which names the type, if it is another."""
    fits, result = _try(value, kind)
    if not fits and kind is str and isinstance(value, str):
        raise PellucidError(
            f"{where} takes text in UTF-8, as recipes are, not {shown(value)}; rename that file or folder"
        )
    if not fits:
        raise PellucidError(f"{where} takes {name_of(kind)}, not {shown(value)}")
    return result


def parse_value(text: str) -> Any:
    """Return the right side of `key=value` as a TOML value, or as text if it is not TOML."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return parsed["value"] if list(parsed) == ["value"] else text


def name_of(kind: Any) -> str:
    """Return the name of a type for messages."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(repr(option) for option in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(f"'{NONE}'" if one is type(None) else name_of(one) for one in inner)
    if origin in _LISTS:
        return f"a list of {_plural(inner[0])}"
    if origin is tuple:
        if inner[-1] is Ellipsis:
            return f"a list of {_plural(inner[0])}"
        return f"a list of {len(inner)} values ({', '.join(name_of(one) for one in inner)})"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def _plural(kind: Any) -> str:
    return {int: "whole numbers", float: "numbers", str: "texts"}.get(kind, f"({name_of(kind)})")


def _try(value: Any, kind: Any) -> tuple[bool, Any]:
    """Return whether `value` fits the type, and the converted value."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _try_union(value, inner)
    if origin is tuple or origin in _LISTS:
        return _try_sequence(value, origin, inner)
    if origin is Literal:
        return any(value == option and type(value) is type(option) for option in inner), value
    if kind is float and type(value) in (int, float) and _finite(value):
        return True, float(value)
    return kind is Any or (kind in _CHECKS and _CHECKS[kind](value)), value


def _try_union(value: Any, kinds: tuple[Any, ...]) -> tuple[bool, Any]:
    if type(None) in kinds and (value is None or value == NONE):
        return True, None
    for exact in (True, False):  # 3 is an int before it is a float
        for kind in kinds:
            if exact and kind in (int, float) and type(value) is not kind:
                continue
            fits, result = _try(value, kind)
            if fits:
                return True, result
    return False, None


def _try_sequence(value: Any, origin: Any, inner: tuple[Any, ...]) -> tuple[bool, Any]:
    if not isinstance(value, (list, tuple)):
        return False, None
    kinds = (inner[0],) * len(value) if origin in _LISTS or inner[-1] is Ellipsis else inner
    if len(kinds) != len(value):
        return False, None
    tried = [_try(one, kind) for one, kind in zip(value, kinds, strict=True)]
    return all(fits for fits, _ in tried), tuple(result for _, result in tried)


def _finite(value: float) -> bool:
    return abs(value) <= _MAX_INT if isinstance(value, int) else math.isfinite(value)


def write_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return tables as TOML; None becomes "none", tuples become arrays, and nested tables become inline tables."""
    return "\n".join(
        f"[{name}]\n" + "".join(f"{_key(key)} = {toml_value(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("-", "_").isidentifier()
    return key if bare else _text(key)


def toml_value(value: Any) -> str:
    """Return one value as TOML."""
    if value is None:
        return _text(NONE)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {toml_value(one)}' for key, one in value.items())} }}"
    if isinstance(value, Sequence):
        return f"[{', '.join(toml_value(one) for one in value)}]"
    raise TypeError(f"TOML has no value like {value!r}")


def _text(text: str) -> str:
    """Return a TOML basic string with unprintable characters escaped."""
    quoted = json.dumps(text, ensure_ascii=False)  # TOML's escapes are JSON's, and \U for any character
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in quoted)
