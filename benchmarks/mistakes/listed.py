"""The frozen list of mistakes, the doctor's names for their causes, and the verdict on a diagnosis."""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
VERDICTS = ("named", "refused", "wrong cause", "symptom only", "nothing")


@dataclass(frozen=True)
class Mistake:
    """An entry of list.toml."""

    id: str
    mistake: str
    cause: str
    kind: str
    source: str
    url: str


@dataclass(frozen=True)
class NamedChecks:
    """The checks with findings in a diagnosis: those reported as causes, and all others."""

    causes: tuple[str, ...]
    others: tuple[str, ...]


@cache
def mistakes() -> tuple[Mistake, ...]:
    """Return the list."""
    return tuple(Mistake(**entry) for entry in tomllib.loads((HERE / "list.toml").read_text("utf-8"))["mistake"])


@cache
def _name_table() -> Mapping[str, Any]:
    return tomllib.loads((HERE / "names.toml").read_text("utf-8"))


def right_names(kind: str) -> frozenset[str]:
    """Return the doctor's names for a kind of cause."""
    return frozenset(_name_table()["kinds"][kind])


def read_diagnosis(diagnosis: Mapping[str, Any]) -> NamedChecks:
    """Return the checks with findings in `Diagnosis.to_json()`.

    A finding is a cause unless it follows from another finding, names only the part with the fault, or is a symptom
    whose cause is not established.
    """
    causes: list[str] = []
    others: list[str] = []
    for finding in diagnosis["findings"]:
        is_symptom = finding.get("symptom") or finding.get("established") is False or finding.get("status") == "symptom"
        is_consequence = finding.get("follows_from") is not None or not finding.get("cause")
        is_part = finding.get("kind") == "part"
        (others if is_symptom or is_consequence or is_part else causes).append(finding["check"])
    unique_causes = tuple(dict.fromkeys(causes))
    return NamedChecks(unique_causes, tuple(dict.fromkeys(name for name in others if name not in unique_causes)))


def verdict(mistake: Mistake, causes: Collection[str], others: Collection[str]) -> str:
    """Return the verdict on a diagnosis of a mistake: one of VERDICTS, but not "refused".

    The right name among the causes is "named"; else any cause that is more than a symptom is a "wrong cause".
    """
    if right_names(mistake.kind) & set(causes):
        return "named"
    if set(causes) - set(_name_table()["symptoms"]):
        return "wrong cause"
    return "symptom only" if causes or others else "nothing"
