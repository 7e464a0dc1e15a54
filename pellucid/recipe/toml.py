"""Write tables of plain values as TOML."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.recipe.values import NONE


def write_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return TOML text of tables; None becomes "none", tuples become arrays, tables within them inline tables."""
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
    """Return a basic string; what is not printable is escaped."""
    quoted = json.dumps(text, ensure_ascii=False)  # TOML's escapes are JSON's, and \U for any character
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in quoted)
