"""What the doctor says of a case."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pellucid.doctor.attempt import Attempt, attempter
from pellucid.doctor.case import Case
from pellucid.doctor.checks import CHECKS
from pellucid.doctor.finding import Check, Finding, UnansweredError

UNTRAINED = "the weights are those from before the first step, so all is examined as not trained yet"


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The findings, causes first, and the names of the checks that were made.

    follows: the findings among them that another one explains, with the name of its check. attempts: for findings by
    their place, what their remedy did. left_out: the checks that have no answer here, and why. notes: what to know
    before reading the findings, a sentence each. trained: whether the weights are other than before the first step.
    """

    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    follows: dict[int, str]
    attempts: dict[int, Attempt]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    trained: bool = True

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the checks that found something, causes first, each once."""
        return tuple(dict.fromkeys(finding.check for finding in self.findings))

    def to_json(self) -> dict[str, Any]:
        """Return all of it as values of JSON; what follows from a cause has none of its own, and no fix."""
        nothing = dict.fromkeys(("cause", "fix", "can_try"))
        return {
            "healthy": self.healthy,
            "trained": self.trained,
            "notes": list(self.notes),
            "findings": [
                {
                    **finding.to_json(),
                    **(nothing if place in self.follows else {}),
                    "follows_from": self.follows.get(place),
                    "tried": self.attempts[place].to_json() if place in self.attempts else None,
                }
                for place, finding in enumerate(self.findings)
            ],
            "checks": list(self.checks),
            "left_out": dict(self.left_out),
        }

    def __str__(self) -> str:
        """Return the diagnosis as text."""
        from pellucid.doctor.text import told

        return told(self)

    def _repr_html_(self) -> str:
        """Return the diagnosis for notebooks."""
        from pellucid.doctor.html import page

        return page(self)


def diagnose(case: Case, attempts: bool = False, checks: Sequence[Check] = CHECKS) -> Diagnosis:
    """Ask every check about a case; with `attempts`, try the remedies of what does not follow from something else.

    Checks that ask what has no answer here are left out; UnansweredError for attempts without a known training.
    """
    if attempts and not case.trainable:
        raise UnansweredError("a file of weights does not tell how they are trained; give the run folder to try a fix")
    found: list[Finding] = []
    asked: list[Check] = []
    left_out: dict[str, str] = {}
    for check in checks:
        if why := check.cannot_ask(case):
            left_out[check.name] = why
            continue
        try:
            found += check.look(case)
        except UnansweredError as error:
            left_out[check.name] = str(error)
            continue
        asked.append(check)
    names = {finding.check for finding in found}
    because = _because([check for check in asked if check.name in names])
    ordered = [finding for finding in found if finding.check not in because]
    causes = len(ordered)
    ordered += [finding for finding in found if finding.check in because]
    follows = {place: because[it.check] for place, it in enumerate(ordered) if it.check in because}
    tried = _tried(case, ordered[:causes]) if attempts else {}
    notes = case.notes if case.trained else (UNTRAINED, *case.notes)
    return Diagnosis(
        tuple(ordered), tuple(check.name for check in asked), follows, tried, left_out, notes, case.trained
    )  # fmt: skip


def _because(checks: Sequence[Check]) -> dict[str, str]:
    """Return, of checks that found something, what explains what: the first that does, and never in a circle."""
    because: dict[str, str] = {}
    for check in checks:
        above = [check.name]
        while above[-1] in because:
            above.append(because[above[-1]])
        because |= {name: check.name for name in check.explains if name not in because and name not in above}
    return because


def _tried(case: Case, causes: Sequence[Finding]) -> dict[int, Attempt]:
    """Try the remedies; one that several findings of a check share is tried once."""
    try_out = attempter(case)
    done: dict[tuple[str, str], Attempt] = {}
    tried: dict[int, Attempt] = {}
    for place, finding in enumerate(causes):
        if finding.remedy is not None:
            key = (finding.check, finding.remedy.does)
            tried[place] = done[key] = done.get(key) or try_out(finding.remedy)
    return tried
