"""What the doctor says of a case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pellucid.doctor.attempt import Attempt, Attempts
from pellucid.doctor.case import Case
from pellucid.doctor.checks import CHECKS
from pellucid.doctor.establish import Verdict, establish
from pellucid.doctor.finding import Check, Finding, UnansweredError

POOR = {"underfitting", "collapsed-predictions", "overfitting", "nan-origin"}  # what a failing training shows
BROKEN = {"collapsed-predictions", "nan-origin"}  # of which, proven, nothing else is the cause
UNTRAINED = "the weights are those from before the first step, so all is examined as not trained yet"


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The findings, causes first, then symptoms, then what follows from others, and the names of the checks made.

    A cause was measured as the fault itself, or a trial without it has shown that it matters. symptoms: the places of
    the findings whose cause is not established. follows: by their places, the findings that go away with another one,
    with that one's name. attempts: for findings by their place, what their remedy did. left_out: the checks that have
    no answer here, and why. notes: what to know before reading the findings, a sentence each. trained: whether the
    weights are other than before the first step.
    """

    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    follows: dict[int, str]
    attempts: dict[int, Attempt]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    trained: bool = True
    symptoms: frozenset[int] = frozenset()

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the checks that found something, causes first, each once."""
        return tuple(dict.fromkeys(finding.check for finding in self.findings))

    @property
    def causes(self) -> tuple[str, ...]:
        """The names of the findings that are causes, each once."""
        places = (place for place in range(len(self.findings)) if self.kind(place) == "cause")
        return tuple(dict.fromkeys(self.findings[place].check for place in places))

    def kind(self, place: int) -> str:
        """Return what a finding is: "cause", "symptom" (of no established cause) or "consequence"."""
        return "consequence" if place in self.follows else "symptom" if place in self.symptoms else "cause"

    def to_json(self) -> dict[str, Any]:
        """Return all of it as values of JSON; symptoms and what follows have no cause of their own, and no fix."""
        nothing = dict.fromkeys(("cause", "fix", "can_try"))
        return {
            "healthy": self.healthy,
            "trained": self.trained,
            "notes": list(self.notes),
            "findings": [
                {
                    **finding.to_json(),
                    "kind": self.kind(place),
                    **(nothing if self.kind(place) != "cause" else {}),
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
    """Ask every check about a case, and try without each suspect whether a training that fails does better.

    attempts: try the remedies of proven causes too. Checks that ask what has no answer here are left out;
    UnansweredError for attempts without a known training.
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
            found += (replace(one, proven=one.proven or check.proven) for one in check.look(case))
        except UnansweredError as error:
            left_out[check.name] = str(error)
            continue
        asked.append(check)
    because = _because(asked, found)
    tries = Attempts(case)
    open_to = [it for it in found if it.remedy is not None and not it.proven and it.check not in because]
    broken = any(it.proven and it.check in BROKEN for it in found)
    verdict = Verdict(False) if broken else establish(case, open_to, tries, bool(set(because) & POOR))
    if verdict.untried:
        left_out |= dict.fromkeys(verdict.untried, "not tried: the trials before it took all the time")
    found = _established(found, asked, verdict)
    because = _because(asked, found) | _gone(found, asked, verdict, tries)
    ordered = sorted(found, key=lambda it: (it.check in because, not it.proven))  # stable
    follows = {place: because[it.check] for place, it in enumerate(ordered) if it.check in because}
    symptoms = frozenset(place for place, it in enumerate(ordered) if place not in follows and not it.proven)
    known = {id(cause.finding): cause.attempt for cause in verdict.causes}
    tried = {place: known[id(it)] for place, it in enumerate(ordered) if id(it) in known}
    if attempts:
        rest = [place for place in range(len(ordered)) if place not in {*follows, *tried}]
        tried |= _tried(tries, {place: ordered[place] for place in rest})
    notes = case.notes if case.trained else (UNTRAINED, *case.notes)
    return Diagnosis(
        tuple(ordered), tuple(check.name for check in asked), follows, tried, left_out, notes, case.trained, symptoms
    )  # fmt: skip


def _established(found: Sequence[Finding], asked: Sequence[Check], verdict: Verdict) -> list[Finding]:
    """Return the causes that trials established, before the other findings, of which they replace those of their name.

    What rests on a trial of its own is a cause where the training does not fail, so that no other trial was made.
    """
    own = set() if verdict.failed else {check.name for check in asked if check.own_trial}
    causes = [cause.finding for cause in verdict.causes]
    names = {it.check for it in causes}
    rest = [replace(it, proven=it.proven or it.check in own) for it in found if it.check not in names]
    return [*causes, *([] if verdict.other is None else [verdict.other]), *rest]


def _gone(
    found: Sequence[Finding], asked: Sequence[Check], verdict: Verdict, tries: Attempts
) -> dict[str, str]:  # fmt: skip
    """Return which symptoms go away with which cause: they are there after the trial as set, and not without it."""
    gone: dict[str, str] = {}
    checks = {check.name: check for check in asked}
    if verdict.other is not None and verdict.other.proven and verdict.as_set is not None:
        symptoms = (it.check for it in found if not it.proven and it.check in checks)
        return {
            name: verdict.other.check
            for name in symptoms
            if checks[name].own_trial or not _finds(checks[name], verdict.as_set)
        }
    for cause in verdict.causes:
        for name in dict.fromkeys(it.check for it in found if not it.proven):
            check, mended = checks.get(name), cause.attempt.mended
            if name in gone or check is None or mended is None or verdict.as_set is None:
                continue
            if check.own_trial:
                if cause.mends:  # at the rate as it is set, the training does well without the cause
                    gone[name] = cause.finding.check
            elif (tries.whole or _finds(check, verdict.as_set)) and not _finds(check, mended):
                gone[name] = cause.finding.check
    return gone


def _finds(check: Check, case: Case) -> bool:
    try:
        return not check.cannot_ask(case) and bool(check.look(case))
    except UnansweredError:
        return False


def _because(asked: Sequence[Check], found: Sequence[Finding]) -> dict[str, str]:
    """Return, of checks that found something, which proven one explains which: the first that does, never in a circle.

    What is proven itself follows from something else too: labels that are shuffled give copies with other labels.
    """
    names = {it.check for it in found}
    because: dict[str, str] = {}
    for check in asked:
        if not any(it.proven for it in found if it.check == check.name):
            continue
        above = [check.name]
        while above[-1] in because:
            above.append(because[above[-1]])
        because |= {
            name: check.name for name in check.explains if name in names and name not in because and name not in above
        }
    return because


def _tried(try_out: Attempts, causes: Mapping[int, Finding]) -> dict[int, Attempt]:
    """Try the remedies; one that several findings of a check share is tried once."""
    done: dict[tuple[str, str], Attempt] = {}
    tried: dict[int, Attempt] = {}
    for place, finding in causes.items():
        if finding.remedy is not None:
            key = (finding.check, finding.remedy.does)
            tried[place] = done[key] = done.get(key) or try_out(finding.remedy)
    return tried
