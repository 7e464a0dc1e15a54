"""The scorecard's page and its line in the README: written from the rows, and held against what is committed."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.scorecard.coverage import Entry
from pellucid.scorecard.tally import Row, decade
from pellucid.train.files import write_atomically

PAGE, README = Path("docs/scorecard.md"), Path("README.md")
# Networks as a whole are checked by Keras' definitions once the model zoo is there.
NOT_YET = "| keras.applications | - | not yet | - | - | - | - | - | - |"
OPEN, CLOSE = "<!-- scorecard: written by `pellucid scorecard` -->", "<!-- end of scorecard -->"
SEAL = "<!-- sha256 of all above: {} -->\n"
# How far a worst error may be from the committed one: other processors add in another order.
DECADES = 3

HEAD = """# Scorecard

Suites that others wrote for their own libraries, run against ours. Written by `pellucid scorecard`; nothing here is
typed by hand. **Worst error** is a bound: the largest difference from the expected tensor, over outputs and gradients,
divided by that tensor's largest entry. 0 means equal bits: there our layer and PyTorch's derivative call the same
kernels, so that the row checks what we hand them (arguments, shapes, padding, which gradient is whose), and not their
arithmetic, which ONNX's cases and the references in tests/ check. A case is skipped where it asks for an option that we
do not have.

"""


def summary(rows: Sequence[Row]) -> str:
    """Return the one line that sums the rows up."""
    told = [f"{_passed(rows, 'torch ')} samples of PyTorch's own test inputs", f"{_passed(rows, 'onnx ')} ONNX cases"]
    told.append(f"{_passed(rows, 'torch.')} comparisons with `torch.optim`")
    told.append(f"{_passed(rows, 'sklearn')} with scikit-learn")
    failed, skipped = sum(row.failed for row in rows), sum(row.skipped for row in rows)
    return f"Passed: {', '.join(told)}. Failed: {failed}. Skipped, each with a reason: {skipped}."


def render(rows: Sequence[Row], entries: Sequence[Entry]) -> str:
    """Return the whole page, sealed by its own checksum."""
    lines = [HEAD + summary(rows), ""]
    lines += ["| suite | version | cases | passed | skipped | failed | worst error | our file | skips |"]
    lines += ["|---|---|---:|---:|---:|---:|---:|---|---|"]
    lines += [_line(row) for row in rows]
    lines += [NOT_YET, "", "## What no outside suite reaches", ""]
    if entries:
        lines += ["| what | kind | our file | checked by |", "|---|---|---|---|"]
        lines += [f"| {e.name} | {e.kind} | {e.file} | {e.checked_by or '**nothing**'} |" for e in entries]
    else:
        lines += ["Nothing: every public layer, loss, optimizer, rule and metric is reached by a suite above."]
    return seal("\n".join(lines) + "\n\n")


def seal(text: str) -> str:
    """Return the page with its checksum as the last line."""
    return text + SEAL.format(hashlib.sha256(text.encode()).hexdigest())


def write(rows: Sequence[Row], entries: Sequence[Entry], root: Path) -> list[Path]:
    """Write the page, and the line of a README that has a place for it; return what was written."""
    page, readme = root / PAGE, root / README
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, render(rows, entries).encode())
    if not readme.is_file() or OPEN not in (text := readme.read_text(encoding="utf-8")):
        return [page]
    write_atomically(readme, _with_line(text, summary(rows)).encode())
    return [page, readme]


def differences(rows: Sequence[Row], entries: Sequence[Entry], root: Path) -> list[str]:
    """Return what the committed page and README say otherwise than this run; worst errors within `DECADES`."""
    found = edits(root)
    fresh, committed = render(rows, entries), _read(root / PAGE)
    old, new = committed.splitlines()[:-1], fresh.splitlines()[:-1]
    found += [f"{PAGE}: not from this run: {line}" for line in _unmatched(old, new)]
    found += [f"{PAGE}: missing: {line}" for line in _unmatched(new, old)]
    if _line_of(_read(root / README)) != summary(rows):
        found.append(f"{README}: the scorecard's line is not that of this run: {summary(rows)}")
    return found


def edits(root: Path) -> list[str]:
    """Return what shows, without a run, that the page or the README's line was not written by the command."""
    page = _read(root / PAGE)
    body, found = page[: page.rfind("<!-- sha256")], []
    if seal(body) != page:
        found.append(f"{PAGE}: changed by hand: its checksum is not that of its text")
    line = _line_of(_read(root / README))
    if line is None or line not in page.splitlines():
        found.append(f"{README}: changed by hand: the scorecard's line is not that of {PAGE}")
    return found


def _passed(rows: Sequence[Row], start: str) -> str:
    return f"{sum(row.passed for row in rows if row.suite.startswith(start)):,}"


def _line(row: Row) -> str:
    skips = "; ".join(f"{count} {reason}" for reason, count in sorted(row.skips.items()))
    numbers = f"{row.cases} | {row.passed} | {row.skipped} | {row.failed} | {decade(row.worst_error)}"
    return f"| {row.suite} | {row.version} | {numbers} | {row.file} | {skips} |"


def _read(path: Path) -> str:
    if not path.is_file():
        raise PellucidError(
            f"{path} is not there; run `pellucid scorecard` in the folder of the project, and commit it"
        )
    return path.read_text(encoding="utf-8")


def _with_line(text: str, line: str) -> str:
    before, _, rest = text.partition(OPEN)
    return f"{before}{OPEN}\n{line}\n{CLOSE}{rest.partition(CLOSE)[2]}"


def _line_of(readme: str) -> str | None:
    inside = re.search(f"{re.escape(OPEN)}\n(.*)\n{re.escape(CLOSE)}", readme)
    return inside[1] if inside else None


def _unmatched(lines: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return the lines that have no equal among the others, up to the decades of worst errors."""
    known: dict[str, list[float]] = {}
    for other in others:
        known.setdefault(*_split(other)[:1], []).append(_split(other)[1])
    return [
        line for line in lines if not any(abs(_split(line)[1] - d) <= DECADES for d in known.get(_split(line)[0], []))
    ]


def _split(line: str) -> tuple[str, float]:
    """Return a line of the table without its worst error, and that error's decade."""
    cells = line.split(" | ")
    if len(cells) != 9 or not re.fullmatch(r"0|1e-?\d+", cells[6]):
        return line, 0.0
    # an error of exactly 0 here may be one of a few units in the last place elsewhere
    decade_here = -17.0 if cells[6] == "0" else float(cells[6][2:])
    return " | ".join(cells[:6] + cells[7:]), decade_here
