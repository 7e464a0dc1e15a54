"""Functions that write Python expressions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid.network.traced import TracedLayer


class Name:
    """An argument of `call` that is written as an expression, without quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        """Return the expression."""
        return self.text


def call(name: str, *values: Any, defaults: Mapping[str, Any] | None = None, **options: Any) -> str:
    """Return the code of a call, without options that equal their `defaults` in PyTorch."""
    defaults = defaults or {}
    changed = {key: value for key, value in options.items() if key not in defaults or defaults[key] != value}
    return (
        f"{name}({', '.join([*map(literal, values), *(f'{key}={literal(value)}' for key, value in changed.items())])})"
    )


def literal(value: Any) -> str:
    """Return the Python source of a value, with strings in double quotes."""
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    text = ascii(value)  # json.dumps would write surrogate pairs
    return f'"{text[1:-1]}"' if isinstance(value, str) and '"' not in text else text


def call_without_options(name: str) -> Callable[[Any, TracedLayer], str]:
    """Return the function for layers without options, which returns the call of `name`."""
    return lambda layer, step: f"{name}()"
