"""Writing of the committed scorecard (the page and a line of the README), and its comparison with a run."""

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from conformance.coverage import Entry
from conformance.page import SUMMARY_PREFIX, render, summary, with_checksum
from conformance.tally import Row
from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically

PAGE, README = Path("docs/scorecard.md"), Path("README.md")
START_MARK, END_MARK = "<!-- scorecard: written by `pellucid scorecard` -->", "<!-- end of scorecard -->"
# In powers of ten, between a worst error and the committed one: other processors add in another order.
MAX_DECADE_DIFFERENCE = 3
_ROUNDING_DECADES = {-16, -7}  # of one unit in the last place in float64 and float32
_DIFF_MEANINGS = {"-": "not from this run", "+": "missing"}


def check_writable(root: Path) -> None:
    """Raise PellucidError if the page would replace another file or cannot be written, or the README lacks a mark."""
    page, readme = root / PAGE, root / README
    if page.exists() and "<!-- sha256" not in _read(page):
        raise PellucidError(f"{page} is there and is not a scorecard's page; run this in another folder")
    if readme.is_file() and START_MARK in (text := _read(readme)) and _summary_line(text) is None:
        raise PellucidError(
            f"{readme}: the scorecard's line stands between two marks, once; put {START_MARK} {END_MARK} back"
        )
    existing_folder = next(folder for folder in (page.parent, *page.absolute().parents) if folder.is_dir())
    if not os.access(existing_folder, os.W_OK):
        raise PellucidError(
            f"{existing_folder} cannot be written; run this in another folder, or with a PART or --check"
        )


def write(rows: Sequence[Row], entries: Sequence[Entry], root: Path) -> list[Path]:
    """Write the page, and the line between the marks of the README, if it has them; return the paths written."""
    page, readme = root / PAGE, root / README
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, render(rows, entries).encode())
    if not readme.is_file() or START_MARK not in (text := _read(readme)):
        return [page]
    before, _, after_mark = text.partition(START_MARK)
    line = f"{START_MARK}\n{summary(rows)}\n{END_MARK}"
    write_atomically(readme, f"{before}{line}{after_mark.partition(END_MARK)[2]}".encode())
    return [page, readme]


def differences(rows: Sequence[Row], entries: Sequence[Entry], root: Path) -> list[str]:
    """Return a line for each difference between this run and the committed page and README.

    Worst errors that differ by at most MAX_DECADE_DIFFERENCE powers of ten count as equal.
    """
    problems = manual_edits(root)
    old, new = (text.splitlines()[:-1] for text in (_read(root / PAGE), render(rows, entries)))
    changes = difflib.ndiff([_without_error(line) for line in old], [_without_error(line) for line in new])
    problems += [f"{PAGE}: {_DIFF_MEANINGS[line[0]]}: {line[2:]}" for line in changes if line[0] in _DIFF_MEANINGS]
    for before, after in zip(old, new, strict=False):
        if len(old) == len(new) and _differs_by_decades(before, after):
            problems.append(f"{PAGE}: another worst error: {after}")
    if _summary_line(_read(root / README)) != summary(rows):
        problems.append(f"{README}: the scorecard's line is not that of this run: {summary(rows)}")
    return problems


def manual_edits(root: Path) -> list[str]:
    """Return a line for the page and for the README's line if the text is not as the command wrote it.

    Raises PellucidError if one of the two files is missing.
    """
    page = _read(root / PAGE)
    body, problems = page[: page.rfind("<!-- sha256")], []
    if with_checksum(body) != page:
        problems.append(f"{PAGE}: changed by hand: its checksum is not that of its text")
    summary_lines = [line for line in page.splitlines() if line.startswith(SUMMARY_PREFIX)]
    if [_summary_line(_read(root / README))] != summary_lines:
        problems.append(f"{README}: changed by hand: the scorecard's line is not that of {PAGE}")
    return problems


def _read(path: Path) -> str:
    if not path.is_file():
        raise PellucidError(
            f"{path} is not there; run `pellucid scorecard` in the folder of the project, and commit it"
        )
    return path.read_text(encoding="utf-8", errors="replace")


def _summary_line(readme: str) -> str | None:
    """Return the line between the two marks, or None unless each mark occurs once and they enclose one line."""
    enclosed_lines = re.findall(f"{re.escape(START_MARK)}\n(.*)\n{re.escape(END_MARK)}", readme)
    return enclosed_lines[0] if readme.count(START_MARK) == readme.count(END_MARK) == len(enclosed_lines) == 1 else None


def _cells(line: str) -> list[str]:
    """Return the cells of a row of the table whose worst error is a number, and [] for any other line."""
    cells = line.split(" | ")
    return cells if len(cells) == 9 and re.fullmatch(r"0|1e-?\d+", cells[6]) else []


def _without_error(line: str) -> str:
    cells = _cells(line)
    return " | ".join([*cells[:6], "...", *cells[7:]]) if cells else line


def _decades(line: str) -> set[int]:
    """Return the possible decades of a row's worst error; 0 may become a rounding error on another processor."""
    cells = _cells(line)
    if not cells:
        return {0}
    return _ROUNDING_DECADES if cells[6] == "0" else {int(cells[6][2:])}


def _differs_by_decades(before: str, after: str) -> bool:
    return min(abs(old - new) for old in _decades(before) for new in _decades(after)) > MAX_DECADE_DIFFERENCE
