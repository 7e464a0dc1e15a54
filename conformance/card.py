"""The scorecard as data: the rows of the parts that were run, and our classes and functions that no suite reaches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from conformance.coverage import Entry, coverage, reached_subjects
from conformance.parts import COVERAGE, PARTS, PARTS_WITHOUT_NETWORKS, cases
from conformance.tally import Row, run_cases


@dataclass(frozen=True)
class Card:
    """The result of a run: `rows` of the suites, `entries` for our classes and functions that no suite reaches."""

    rows: tuple[Row, ...]
    entries: tuple[Entry, ...]

    @property
    def unchecked_entries(self) -> tuple[Entry, ...]:
        """The entries without an independent check."""
        return tuple(entry for entry in self.entries if not entry.checked_by)


def run_parts(names: Sequence[str], every: int, on_row: Callable[[Row], None]) -> Card:
    """Run the parts `names` (all if empty), and call `on_row` with each row as soon as it is complete.

    every: run each `every`-th case of a suite.
    """
    rows = []
    for row in run_cases(cases(names or tuple(PARTS)), every):
        on_row(row)
        rows.append(row)
    if names and COVERAGE not in names:
        return Card(tuple(rows), ())
    reached = reached_subjects(cases(PARTS_WITHOUT_NETWORKS)) if names else {row.subject for row in rows if row.passed}
    return Card(tuple(rows), tuple(coverage(reached)))
