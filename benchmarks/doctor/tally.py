"""Counts of a bench: how many faults were named, how many healthy trainings were called ill."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

Record = dict[str, Any]
Z = 1.959963984540054  # of a 95 % interval


def wilson(hits: int, cases: int) -> tuple[float, float]:
    """Return the 95 % interval of a share; (0, 1) of no cases. Wilson 1927, JASA 22."""
    if not cases:
        return 0.0, 1.0
    share, z2 = hits / cases, Z * Z
    middle = (share + z2 / (2 * cases)) / (1 + z2 / cases)
    half = Z / (1 + z2 / cases) * sqrt(share * (1 - share) / cases + z2 / (4 * cases * cases))
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


def row(records: Sequence[Record]) -> Row:
    """Count cases of faults; the name is that of the first one."""
    said = [record for record in records if "error" not in record]
    others = Counter(name for record in said for name in record["names"] if name != record["fault"])
    return Row(
        records[0]["fault"] if records else "",
        records[0]["about"] if records else "",
        tuple(dict.fromkeys(record["setting"] for record in records)),
        tuple(sorted({record["seed"] for record in records})),
        len(records),
        sum(record["fault"] in record["names"] for record in said),
        sum(record["fault"] in record["causes"] for record in said),
        sum(record["names"][:1] == [record["fault"]] for record in said),
        dict(others.most_common()),
        len(records) - len(said),
    )


def by_fault(records: Iterable[Record]) -> list[Row]:
    """Return a row for each fault, in the order of the records."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["fault"], record["about"]), []).append(record)
    return [row(group) for group in groups.values()]


@dataclass(frozen=True)
class Alarms:
    """Healthy cases: how many of them any check says something of, how many get a cause, and how many each check."""

    cases: int
    alarmed: int
    caused: int
    checks: dict[str, int]
    errors: int


def alarms(records: Sequence[Record]) -> Alarms:
    """Count what was said of healthy cases; one that could not be examined is an alarm too."""
    errors = sum("error" in record for record in records)
    said = [record for record in records if record.get("names")]
    checks = Counter(name for record in said for name in record["names"])
    caused = sum(bool(record["causes"]) for record in said)
    return Alarms(len(records), len(said) + errors, caused + errors, dict(checks.most_common()), errors)


@dataclass(frozen=True)
class Sorted:
    """Cases by what was broken: the training, nothing but the history (`synthetic`), or nothing (`healthy`)."""

    broken: list[Record]
    synthetic: list[Record]
    healthy: list[Record]


def by_kind(records: Iterable[Record], synthetic: Collection[tuple[str, str]]) -> Sorted:
    """Sort cases; synthetic: check and words of the faults that break the history alone."""
    found = Sorted([], [], [])
    for record in records:
        made_up = (record["fault"], record["about"]) in synthetic
        (found.synthetic if made_up else found.broken if record["fault"] else found.healthy).append(record)
    return found
