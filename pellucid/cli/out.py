"""What commands print: one JSON object, or text for people."""

import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

from pellucid.text import printable


def emit(value: Mapping[str, Any]) -> None:
    """Print one JSON object, in ASCII; what is not a finite number becomes null."""
    say(json.dumps(plain(value), allow_nan=False))


def plain(value: Any) -> Any:
    """Return `value` made of JSON's own types; NaN and infinity become None, other objects their text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def say(*lines: str) -> None:
    """Print lines at once, escaping what is not printable: names in them are data.

    Continue when stdout is closed, so that the exit code still reports the result.
    """
    _write("\n".join(map(printable, lines)))


def say_text(text: str) -> None:
    """Print text of several lines, such as a table, as `say` prints one."""
    _write(printable(text, keep="\n"))


def _write(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        silence_stdout()


def silence_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush finds an open file."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def percent(fraction: float) -> str:
    """Return a fraction as people read it: "97.96 %"."""
    return f"{100 * fraction:.2f} %"
