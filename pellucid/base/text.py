"""Plain text: escaping of unprintable characters, tables, and plurals."""

import inspect
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


def case_variants(names: Iterable[str]) -> str:
    """Return which names differ only in case, as a phrase about classes; "" if none do."""
    spellings: dict[str, list[str]] = {}
    for name in names:
        spellings.setdefault(name.casefold(), []).append(name)
    similar = [repr(name) for variants in spellings.values() if len(variants) > 1 for name in variants]
    if not similar:
        return ""
    return f"the classes {', '.join(similar):.200} differ only in case, and are read as different classes"


def printable(text: str, keep: str = "") -> str:
    r"""Return `text` with unprintable characters escaped, such as `\x1b`, `\n` or `\udcff`.

    Names of classes, files and layers are data: they may contain characters that move a terminal's cursor, change the
    direction of writing, or cannot be encoded. keep: characters not to escape, such as "\n" in multi-line text.
    """
    if text.isprintable():  # a picture in a page is a text of a million characters
        return text
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


NOTE_PREFIX = "pellucid: "  # of messages on stderr


def note(text: str) -> None:
    """Write a message of one line to stderr, with the prefix "pellucid: " unless it begins with "pellucid ".

    Inside `collected_notes`, it is added to the collected notes instead.
    """
    collected = _collected.get()
    if collected is not None:
        collected.append(text)
        return
    prefix = "" if text.startswith("pellucid ") else NOTE_PREFIX
    sys.stderr.write(f"{prefix}{printable(text)}\n")


def note_once(text: str) -> None:
    """Write a message like `note`, but only the first time that this process writes it."""
    collected = _collected.get()
    if collected is None:
        note_first_time(text)
    elif text not in collected:
        note(text)


note_first_time = cache(note)  # its cache is cleared by tests


@contextmanager
def collected_notes() -> Iterator[list[str]]:
    """Return a context manager of a list to which all notes are added instead of being written."""
    token = _collected.set(notes := [])
    try:
        yield notes
    finally:
        _collected.reset(token)


def shown(value: object) -> str:
    """Return the `repr` of any value on one line, cut to 60 characters, for messages."""
    text = " ".join(repr(value).split())
    return shortened(text, 60)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message that is not empty; "" if there is none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def shortened(text: str, width: int) -> str:
    """Return a text of at most `width` characters, which ends in "..." if it is cut."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def constructor_repr(self: object) -> str:
    """Return an object as text, `EarlyStopping(patience=3)`: its class and the arguments that are also attributes."""
    names = [name for name in inspect.signature(type(self)).parameters if name in vars(self)]
    return f"{type(self).__name__}({', '.join(f'{name}={vars(self)[name]!r}' for name in names)})"


def plural(count: int, noun: str, plural_noun: str = "") -> str:
    """Return the count with its noun, "1 epoch" or "30 epochs"; `plural_noun` is an irregular plural."""
    return f"1 {noun}" if count == 1 else f"{count:,} {plural_noun or f'{noun}s'}"


def value_range(noun: str, plural_noun: str, values: Any) -> str:
    """Return the range of the values of an integer tensor: "class 13", or "classes 0 to 13"."""
    low, high = int(values.min()), int(values.max())
    return f"{noun} {low}" if low == high else f"{plural_noun} {low} to {high}"


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return `rows`, of equal length, as columns two spaces apart; the columns in `right` are right-aligned."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if k in right else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return the lines of a table; the columns in `right` are right-aligned."""
    return aligned(rows, right).split("\n")


def percent(fraction: float) -> str:
    """Return a fraction as text: "97.96 %"."""
    return f"{100 * fraction:.2f} %"
