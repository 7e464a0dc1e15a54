"""Writing of the committed scorecard (a page and its tables), and its comparison with a run."""

import csv
import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from conformance.coverage import Entry
from conformance.page import CASES, CHECKS, PAGE, render, with_checksum
from conformance.tally import Row
from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically

DOCS = Path("docs")
# In powers of ten, between a worst error and the committed one: other processors add in another order.
MAX_DECADE_DIFFERENCE = 3
CHECKSUM_START = "<!-- sha256"
_ROUNDING_DECADES = {-16, -7}  # of one unit in the last place in float64 and float32
_DIFF_MEANINGS = {"-": "not from this run", "+": "missing"}
_ERROR_COLUMN, _COLUMNS = 6, 9  # of the table of cases


def check_writable(root: Path) -> None:
    """Raise PellucidError if the page would replace another file or cannot be written."""
    page = root / DOCS / PAGE
    if page.exists() and CHECKSUM_START not in _read(page):
        raise PellucidError(f"{page} is there and is not a scorecard's page; run this in another folder")
    existing_folder = next(folder for folder in (page.parent, *page.absolute().parents) if folder.is_dir())
    if not os.access(existing_folder, os.W_OK):
        raise PellucidError(
            f"{existing_folder} cannot be written; run this in another folder, or with a PART or --check"
        )


def write(rows: Sequence[Row], entries: Sequence[Entry], root: Path) -> list[Path]:
    """Write the page and its tables; return the paths written."""
    folder = root / DOCS
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for name, text in render(rows, entries).items():
        write_atomically(folder / name, text.encode())
        paths.append(folder / name)
    return paths


def differences(rows: Sequence[Row], entries: Sequence[Entry], root: Path) -> list[str]:
    """Return a line for each difference between this run and the committed page and tables.

    Worst errors that differ by at most MAX_DECADE_DIFFERENCE powers of ten count as equal.
    """
    problems = manual_edits(root)
    for name, text in render(rows, entries).items():
        path = DOCS / name
        old, new = (_lines(one) for one in (_read(root / path), text))
        changes = difflib.ndiff([_without_error(line) for line in old], [_without_error(line) for line in new])
        problems += [f"{path}: {_DIFF_MEANINGS[line[0]]}: {line[2:]}" for line in changes if line[0] in _DIFF_MEANINGS]
        if len(old) != len(new):
            continue
        for before, after in zip(old, new, strict=True):
            if _differs_by_decades(before, after):
                problems.append(f"{path}: another worst error: {after}")
    return problems


def manual_edits(root: Path) -> list[str]:
    """Return a line if the page and its tables are not as the command wrote them.

    Raises PellucidError if one of them is missing.
    """
    page = _read(root / DOCS / PAGE)
    tables = {name: _read(root / DOCS / name) for name in (CASES, CHECKS)}
    if with_checksum(page[: page.rfind(CHECKSUM_START)], tables) == page:
        return []
    return [f"{DOCS / PAGE}: it or one of its tables was changed by hand: the checksum is not that of the texts"]


def _read(path: Path) -> str:
    if not path.is_file():
        raise PellucidError(
            f"{path} is not there; run `pellucid scorecard` in the folder of the project, and commit it"
        )
    return path.read_text(encoding="utf-8", errors="replace")


def _lines(text: str) -> list[str]:
    """Return the lines of a text without the checksum, which also depends on the worst errors."""
    return [line for line in text.splitlines() if not line.startswith(CHECKSUM_START)]


def _cells(line: str) -> list[str]:
    """Return the cells of a row of the table whose worst error is a number, and [] for any other line."""
    cells = next(csv.reader([line]), [])
    has_error = len(cells) == _COLUMNS and re.fullmatch(r"0|1e-?\d+", cells[_ERROR_COLUMN])
    return cells if has_error else []


def _without_error(line: str) -> str:
    cells = _cells(line)
    if not cells:
        return line
    cells[_ERROR_COLUMN] = "..."
    return ",".join(cells)


def _decades(line: str) -> set[int]:
    """Return the possible decades of a row's worst error; 0 may become a rounding error on another processor."""
    cells = _cells(line)
    if not cells:
        return {0}
    return _ROUNDING_DECADES if cells[_ERROR_COLUMN] == "0" else {int(cells[_ERROR_COLUMN][2:])}


def _differs_by_decades(before: str, after: str) -> bool:
    return min(abs(old - new) for old in _decades(before) for new in _decades(after)) > MAX_DECADE_DIFFERENCE
