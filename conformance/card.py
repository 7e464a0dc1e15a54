"""The whole scorecard: the rows of the parts asked for, and what no part reaches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from conformance.coverage import Entry, coverage, reached_subjects
from conformance.parts import COVERAGE, PARTS, PARTS_WITHOUT_NETWORKS, cases
from conformance.tally import Row, run_cases


@dataclass(frozen=True)
class Card:
    """What a run of the scorecard found; `entries` are the parts of ours that no suite reaches."""

    rows: tuple[Row, ...]
    entries: tuple[Entry, ...]

    @property
    def unchecked_entries(self) -> tuple[Entry, ...]:
        """The parts of ours that nothing independent checks."""
        return tuple(entry for entry in self.entries if not entry.checked_by)


def run_parts(names: Sequence[str], every: int, on_row: Callable[[Row], None]) -> Card:
    """Run the parts `names`, or all of them, calling `on_row` with each row as soon as it is complete."""
    rows = []
    for row in run_cases(cases(names or tuple(PARTS)), every):
        on_row(row)
        rows.append(row)
    if names and COVERAGE not in names:
        return Card(tuple(rows), ())
    reached = reached_subjects(cases(PARTS_WITHOUT_NETWORKS)) if names else {row.subject for row in rows if row.passed}
    return Card(tuple(rows), tuple(coverage(reached)))
