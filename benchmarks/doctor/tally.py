"""Counts of what the doctor said."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.doctor.listed import read
from benchmarks.doctor.store import Record
from pellucid.base.text import plural

VERDICTS = ("named", "refused", "wrong cause", "symptom only", "nothing", "error")
ACCUSATIONS = ("cause", "likely cause", "part", "refused", "error")


class Counts(NamedTuple):
    """Trainings with a mistake whose checks are known: with a right check, as a cause, and as the first finding."""

    cases: int
    named: int
    cause: int
    first: int
    errors: int


def right_checks(record: Record) -> set[str]:
    """Return the checks that name the mistake: that of a fault, or those of the kind of a usual mistake."""
    return {record["fault"]} if "fault" in record else set(read("names")["kinds"].get(record.get("kind"), ()))


def counted(records: Sequence[Record]) -> Counts:
    """Return the counts of trainings."""
    named = [record for record in records if right_checks(record) & {*record.get("names", ())}]
    cause = sum(bool(right_checks(record) & {*record["causes"]}) for record in named)
    first = sum(record["names"][0] in right_checks(record) for record in named)
    return Counts(len(records), len(named), cause, first, sum(map(is_error, records)))


def is_error(record: Record) -> bool:
    """Return whether the training or the doctor ended with an error."""
    return record.get("verdict") in ("error", "not examined")


def judged(record: Record) -> str:
    """Return one of VERDICTS if the right checks are known: a cause that is more than a symptom is a wrong one."""
    if is_error(record) or record.get("verdict") == "refused":
        return "error" if is_error(record) else "refused"
    if right_checks(record) & {*record["causes"]}:
        return "named"
    if {*record["causes"]} - {*read("names")["symptoms"]}:
        return "wrong cause"
    return "symptom only" if record["names"] else "nothing"


def is_accused(record: Record) -> bool:
    """Return whether the doctor accuses a training of something, or an error has ended it."""
    return bool(record.get("causes")) or record.get("verdict") in ACCUSATIONS


def has_finding(record: Record) -> bool:
    """Return whether the doctor finds anything in a training, or an error has ended it."""
    return bool(record.get("names")) or is_accused(record)


def tally(records: Sequence[Record]) -> str:
    """Return the counts of a list's records as text."""
    accused = sum(map(is_accused, records))
    words = Counter(judged(one) if right_checks(one) and not one.get("healthy") else one["verdict"] for one in records)
    text = ", ".join(f"{count} {word}" for word, count in words.most_common())
    return f"{plural(len(records), 'training')}: {text}; {accused} accused"
