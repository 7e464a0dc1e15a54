"""Small files of run folders and sweeps, which may come from strangers: JSON objects and lines of text, within limits.

Only regular files are read: a pipe would wait for a writer, and a link could name any file of the reader.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, TypeVar, cast

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.files import read_regular, reason_of
from pellucid.base.limits import MAX_RUN_JSON_BYTES, MAX_RUN_JSON_DIGITS, MAX_RUN_JSON_LEVELS, MAX_RUN_LINE_BYTES
from pellucid.base.settings.annotations import ValueFormat, arguments_of, convert, name_of
from pellucid.base.settings.checks import check
from pellucid.base.text import shown

JSON = ValueFormat(
    lists=(list,),
    none=None,
    checks={int: lambda value: type(value) is int, str: lambda value: type(value) is str, Any: lambda value: True},
)
T = TypeVar("T")


def read_object(path: Path, advice: str) -> dict[str, Any] | None:
    """Return the JSON object of a file, None if it does not exist.

    Raises PellucidError, which ends with `advice`, for any other file, and for one that exceeds a limit.
    """
    try:
        values = parse_json(read_regular(path, MAX_RUN_JSON_BYTES, follow_links=False))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PellucidError(f"{path} cannot be read ({reason_of(error)}); {advice}") from error
    if not isinstance(values, dict):
        raise PellucidError(f"{path} contains {shown(values)}, not a JSON object; {advice}")
    return cast(dict[str, Any], values)


def read_line(path: Path, advice: str) -> str | None:
    """Return the one line of a file, None if it does not exist; raises PellucidError like `read_object`."""
    try:
        text = read_regular(path, MAX_RUN_LINE_BYTES, follow_links=False).decode("utf-8").strip()
        if not text or not text.isprintable():
            raise ValueError("it does not contain one line of text")
        return text
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PellucidError(f"{path} cannot be read ({reason_of(error)}); {advice}") from error


def parse_json(data: bytes) -> Any:
    """Return a JSON value; raises ValueError for other data, and for too many levels and digits."""
    try:
        values: Any = json.loads(data, parse_int=_parse_integer)
    except RecursionError as error:
        raise ValueError(f"it is nested in more than {MAX_RUN_JSON_LEVELS} levels") from error
    values_of_level = [values]
    for _ in range(MAX_RUN_JSON_LEVELS + 1):
        values_of_level = [nested_value for value in values_of_level for nested_value in _nested_values(value)]
        if not values_of_level:
            return values
    raise ValueError(f"it is nested in more than {MAX_RUN_JSON_LEVELS} levels")


def to_record(values: Mapping[str, Any], record_class: Callable[..., T], where: str) -> T:
    """Return a JSON object as an object of a class, whose arguments are the keys.

    Raises PellucidError, beginning with `where`, for unknown and missing keys, and for values of other types.
    """
    known = arguments_of(record_class)
    unknown = next((key for key in values if key not in known), None)
    if unknown is not None:
        raise PellucidError(
            f"{where}: unknown key {shown(unknown)}{nearest(unknown, known)}; known: {', '.join(known)}"
        )
    arguments: dict[str, Any] = {}
    for name, slot in known.items():
        if name in values:
            fits, arguments[name] = convert(values[name], slot.annotation, JSON)
            check(fits, f"{where}: {name}", name_of(slot.annotation, "null"), values[name])
        elif slot.default is MISSING:
            raise PellucidError(f"{where}: {name} is missing")
    return record_class(**arguments)


def _nested_values(value: Any) -> list[Any]:
    """Return the values in a value, which need no further check if there are none."""
    if isinstance(value, dict):
        entries = cast(dict[str, Any], value)
        for name in entries:
            name.encode(errors="surrogateescape")
        return list(entries.values())
    if isinstance(value, str):
        # UnicodeEncodeError, a ValueError, for half of a pair of surrogates; a run writes those of names of files that
        # are not UTF-8.
        value.encode(errors="surrogateescape")
    return cast(list[Any], value) if isinstance(value, list) else []


def _parse_integer(text: str) -> int:
    if len(text) > MAX_RUN_JSON_DIGITS:
        raise ValueError(f"a whole number has more than {MAX_RUN_JSON_DIGITS} digits")
    return int(text)
