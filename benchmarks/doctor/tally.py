"""Counts of a bench: how many faults were named, how many healthy trainings were called ill."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

Record = dict[str, Any]
Z_95 = 1.959963984540054  # of a 95 % interval


def wilson(hits: int, cases: int) -> tuple[float, float]:
    """Return the 95 % interval of a share; (0, 1) of no cases. Wilson 1927, JASA 22."""
    if not cases:
        return 0.0, 1.0
    share, z2 = hits / cases, Z_95 * Z_95
    middle = (share + z2 / (2 * cases)) / (1 + z2 / cases)
    half = Z_95 / (1 + z2 / cases) * sqrt(share * (1 - share) / cases + z2 / (4 * cases * cases))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Row:
    """Cases of one fault, or of several: `named` at all, as a `cause`, as the `first` thing said.

    settings: where they were made, in the order of the records. seeds: those that were drawn, each once.
    others: how often each other check said something. errors: cases that could not be made or examined; they count
    as not named.
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
    """Count cases of faults; the name is that of the first one."""
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
    """Healthy cases: how many of them any check says something of, how many get a cause, and how many each check."""

    cases: int
    alarmed: int
    caused: int
    checks: dict[str, int]
    errors: int


def count_alarms(records: Sequence[Record]) -> Alarms:
    """Count what was said of healthy cases; one that could not be examined is an alarm too."""
    errors = sum("error" in record for record in records)
    alarmed = [record for record in records if record.get("names")]
    checks = Counter(name for record in alarmed for name in record["names"])
    caused = sum(bool(record["causes"]) for record in alarmed)
    return Alarms(len(records), len(alarmed) + errors, caused + errors, dict(checks.most_common()), errors)


@dataclass(frozen=True)
class RecordsByKind:
    """Cases by what was broken: the training, nothing but the history (`synthetic`), or nothing (`healthy`)."""

    broken: list[Record]
    synthetic: list[Record]
    healthy: list[Record]


def by_kind(records: Iterable[Record], synthetic: Collection[tuple[str, str]]) -> RecordsByKind:
    """Sort cases; synthetic: check and words of the faults that break the history alone."""
    kinds = RecordsByKind([], [], [])
    for record in records:
        is_synthetic = (record["fault"], record["about"]) in synthetic
        (kinds.synthetic if is_synthetic else kinds.broken if record["fault"] else kinds.healthy).append(record)
    return kinds
