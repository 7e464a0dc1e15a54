"""Values of TOML files and of command lines: checked against declared types, and written as TOML."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.settings.annotations import Argument, ValueFormat, convert, name_of
from pellucid.base.text import shown
from pellucid.base.toml_reader import parse_toml

TOML_NONE = "none"  # TOML has no null: this word represents None where None is allowed
TOML = ValueFormat(
    lists=(list, tuple),
    none=TOML_NONE,
    checks={
        int: lambda value: type(value) is int and abs(value) < 2**63,
        str: lambda value: type(value) is str and not any("\ud800" <= c <= "\udfff" for c in value),
        Any: lambda value: True,
    },
)


def check_table(
    table_values: Mapping[str, Any],
    slots: Mapping[str, Argument],
    where: str,
    table: str,
    read_value: Callable[[Any, Any, str], Any] | None = None,
) -> dict[str, Any]:
    """Return every argument of a table, given or default, in the order of `slots`.

    where: the file. table: the table's name. read_value: returns the argument for a given value, by default `coerce`.
    Raises PellucidError for an unknown key (suggesting the nearest), a missing one, or a value of the wrong type.
    """
    for key in table_values:
        if key not in slots:
            hint = nearest(key, slots).replace("'", f"'{table}.", 1) or f"; known: {', '.join(slots) or 'none'}"
            raise PellucidError(f"{where}: unknown key '{table}.{key}'{hint}")
    values: dict[str, Any] = {}
    for key, slot in slots.items():
        if key in table_values:
            values[key] = (read_value or coerce)(table_values[key], slot.annotation, f"{where}: {table}.{key}")
        elif slot.default is dataclasses.MISSING:
            raise PellucidError(f"{where}: {table}.{key} is missing; give it {name_of(slot.annotation, TOML_NONE)}")
        else:
            values[key] = slot.default
    return values


def coerce(value: Any, annotation: Any, where: str) -> Any:
    """Return `value` converted to the type `annotation`; raises PellucidError, which names the type, if that fails."""
    fits, result = convert(value, annotation, TOML)
    if not fits and annotation is str and isinstance(value, str):
        raise PellucidError(
            f"{where} takes text in UTF-8, as recipes are, not {shown(value)}; rename that file or folder"
        )
    if not fits:
        raise PellucidError(f"{where} takes {name_of(annotation, TOML_NONE)}, not {shown(value)}")
    return result


def parse_value(text: str) -> Any:
    """Return the right side of `key=value` as a TOML value, or as text if it is not TOML."""
    try:
        parsed = parse_toml(f"value = {text}")
    except ValueError:
        return text
    return parsed["value"] if list(parsed) == ["value"] else text


def write_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return tables as TOML; None becomes "none", tuples become arrays, and nested tables become inline tables."""
    return "\n".join(
        f"[{name}]\n" + "".join(f"{_key_text(key)} = {toml_value(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )


def _key_text(key: str) -> str:
    is_bare = key.isascii() and key.replace("-", "_").isidentifier()
    return key if is_bare else _quoted(key)


def toml_value(value: Any) -> str:
    """Return one value as TOML."""
    if value is None:
        return _quoted(TOML_NONE)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key_text(key)} = {toml_value(element)}' for key, element in value.items())} }}"
    if isinstance(value, Sequence):
        return f"[{', '.join(toml_value(element) for element in value)}]"
    raise TypeError(f"TOML has no value like {value!r}")


def _quoted(text: str) -> str:
    """Return a TOML basic string with unprintable characters escaped."""
    quoted = json.dumps(text, ensure_ascii=False)  # TOML's escapes are JSON's, and \U for any character
    return "".join(character if character.isprintable() else f"\\U{ord(character):08X}" for character in quoted)
