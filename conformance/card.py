"""The whole scorecard: the rows of the parts asked for, and what no part reaches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from conformance.coverage import Entry, coverage, touched
from conformance.parts import COVERAGE, PARTS, SINGLE, cases
from conformance.tally import Row, count


@dataclass(frozen=True)
class Card:
    """What a run of the scorecard found; `entries` are the parts of ours that no suite reaches."""

    rows: tuple[Row, ...]
    entries: tuple[Entry, ...]

    @property
    def holes(self) -> tuple[Entry, ...]:
        """The parts of ours that nothing independent checks."""
        return tuple(entry for entry in self.entries if not entry.checked_by)


def score(names: Sequence[str], every: int, tell: Callable[[Row], None]) -> Card:
    """Run the parts `names`, or all of them, calling `tell` with each row as soon as it is complete."""
    rows = []
    for row in count(cases(names or tuple(PARTS)), every):
        tell(row)
        rows.append(row)
    if names and COVERAGE not in names:
        return Card(tuple(rows), ())
    reached = touched(cases(SINGLE)) if names else {row.subject for row in rows if row.passed}
    return Card(tuple(rows), tuple(coverage(reached)))
