"""Counts over records: faults that were named, and healthy trainings with a finding."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """Counts over the cases of one or more faults.

    settings: the settings of the cases, in the order of the records. seeds: the distinct seeds, sorted. named: cases
    in which the right check has a finding. cause, first: cases in which it is a cause, and the first finding.
    others: the number of cases in which each other check has a finding. errors: cases that raised an error; they
    count as not named.
    """

    fault: str
    about: str
    settings: tuple[str, ...]
    seeds: tuple[int, ...]
    cases: int
    named: int
    cause: int
    first: int
    others: dict[str, int]
    errors: int


def count_faults(records: Sequence[Record]) -> Row:
    """Return the counts over cases of faults, with the name and description of the first record."""
    examined = [record for record in records if "error" not in record]
    others = Counter(name for record in examined for name in record["names"] if name != record["fault"])
    return Row(
        records[0]["fault"] if records else "",
        records[0]["about"] if records else "",
        tuple(dict.fromkeys(record["setting"] for record in records)),
        tuple(sorted({record["seed"] for record in records})),
        len(records),
        sum(record["fault"] in record["names"] for record in examined),
        sum(record["fault"] in record["causes"] for record in examined),
        sum(record["names"][:1] == [record["fault"]] for record in examined),
        dict(others.most_common()),
        len(records) - len(examined),
    )


def by_fault(records: Iterable[Record]) -> list[Row]:
    """Return a row for each fault, in the order of the records."""
    records_by_fault: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        records_by_fault.setdefault((record["fault"], record["about"]), []).append(record)
    return [count_faults(group) for group in records_by_fault.values()]


@dataclass(frozen=True)
class Alarms:
    """Counts over healthy cases: with any finding, with a cause, and for each check with a finding of that check."""

    cases: int
    alarmed: int
    caused: int
    checks: dict[str, int]
    errors: int


def count_alarms(records: Sequence[Record]) -> Alarms:
    """Return the counts over healthy cases; a case that raised an error counts as alarmed and caused."""
    errors = sum("error" in record for record in records)
    alarmed = [record for record in records if record.get("names")]
    checks = Counter(name for record in alarmed for name in record["names"])
    caused = sum(bool(record["causes"]) for record in alarmed)
    return Alarms(len(records), len(alarmed) + errors, caused + errors, dict(checks.most_common()), errors)


@dataclass(frozen=True)
class RecordsByKind:
    """Records of faulty trainings (`broken`) and of healthy trainings."""

    broken: list[Record]
    healthy: list[Record]


def by_kind(records: Iterable[Record]) -> RecordsByKind:
    """Divide the records by kind."""
    kinds = RecordsByKind([], [])
    for record in records:
        (kinds.broken if record["fault"] else kinds.healthy).append(record)
    return kinds
