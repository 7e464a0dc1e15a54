"""Plain text: text from data made safe to show, tables, and counts of things."""

import sys
from collections.abc import Collection, Sequence


def printable(text: str, keep: str = "") -> str:
    r"""Return `text` with every character that is not printable as an escape, such as `\x1b`, `\n` or `\udcff`.

    Names of classes, files and layers are data: they may hold what moves a terminal's cursor, changes the direction
    of writing, or cannot be encoded. keep: characters to leave, such as "\n" in text of several lines.
    """
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


def note(text: str) -> None:
    """Write one line for people to stderr."""
    sys.stderr.write(f"{printable(text)}\n" if text.startswith("pellucid ") else f"pellucid: {printable(text)}\n")


def shown(value: object) -> str:
    """Return the `repr` of any value on one line, cut to 60 characters, for messages."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def plural(count: int, what: str, several: str = "") -> str:
    """Return "1 epoch" or "30 epochs"; `several` is a plural that does not end in s alone."""
    return f"1 {what}" if count == 1 else f"{count:,} {several or f'{what}s'}"


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return `rows`, of equal length, as columns two spaces apart; those numbered in `right` end together."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if k in right else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )
