"""Reading of TOML from any source, with limits that are checked before the text is parsed."""

import re
import tomllib
from pathlib import Path
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.files import open_regular, reason_of
from pellucid.base.limits import (
    MAX_TOML_BYTES,
    MAX_TOML_KEY_PARTS,
    MAX_TOML_KEYS,
    MAX_TOML_LEVELS,
    MAX_TOML_VALUES,
    MAX_TOML_WORD,
)

# The longest built-in recipe has 5 kB, 150 keys and a few levels. A parser takes about 1 GB for 10 kB of a dotted key,
# and 1 s for 20,000 tables.
_TOKEN = re.compile(
    r"""
    (?P<comment>\#[^\n]*+)
    | (?P<string>\"{3}(?:[^"\\]|\\.|"(?!""))*+\"{3,5} | '{3}(?:[^']|'(?!''))*+'{3,5}
        | "(?!"")(?:[^"\\\n]|\\.)*+" | '(?!'')[^'\n]*+')
    | (?P<mark>[\[\]{}=,.\n])
    | (?P<word>[^\s\#"'\[\]{}=,.]++)
    | \s
    """,
    re.DOTALL | re.VERBOSE,
)


def read_toml(path: Path, advice: str, follow_links: bool = True) -> tuple[str, dict[str, Any]]:
    """Return the text and the tables of a TOML file; raises PellucidError, which ends with `advice`, for any other."""
    try:
        with open_regular(path, follow_links) as file:
            data = file.read(MAX_TOML_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        raise PellucidError(f"{path} cannot be read ({reason_of(error)}); {advice}") from error
    try:
        if len(data) > MAX_TOML_BYTES:
            raise ValueError(f"it has more than {MAX_TOML_BYTES:,} bytes")
        text = data.decode("utf-8-sig")  # editors of Windows write a byte-order mark
        return text, parse_toml(text)
    except ValueError as error:
        raise PellucidError(f"{path} is not TOML ({error}); {advice}") from error


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text; raises ValueError for any other text, and for one that exceeds a limit."""
    _check_limits(text)
    return tomllib.loads(text)


def _check_limits(text: str) -> None:
    """Raise ValueError if a text has too many keys, values, levels or parts of a key, or too long a word."""
    position = n_keys = n_values = level = n_dots = 0
    previous_text = "\n"  # the mark, word or string before the token; spaces and comments do not count
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise ValueError(f"the string in line {text.count(chr(10), 0, position) + 1} has no end")
        position = token.end()
        token_kind = token.lastgroup
        token_text = token[0]
        if token_kind in (None, "comment"):
            continue
        if token_kind == "word":
            _check(len(token_text), MAX_TOML_WORD, "a number or a key of more than {:,} characters")
        if token_kind == "mark":
            is_header = token_text == "[" and previous_text == "\n" and level == 0
            n_keys += token_text == "=" or is_header
            n_values += token_text == ","
            level = max(0, level + (token_text in "[{") - (token_text in "]}"))
            n_dots = n_dots + 1 if token_text == "." else 0
            _check(n_keys, MAX_TOML_KEYS, "more than {:,} keys")
            _check(n_values, MAX_TOML_VALUES, "more than {:,} values")
            _check(level, MAX_TOML_LEVELS, "lists nested in more than {:,} levels")
            _check(n_dots + 1, MAX_TOML_KEY_PARTS, "a key of more than {:,} parts")
        previous_text = token_text


def _check(count: int, limit: int, excess: str) -> None:
    if count > limit:
        raise ValueError(f"it has {excess.format(limit)}")
