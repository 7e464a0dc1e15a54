"""The examination of a case by every check, with trials of what may have caused a failing training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pellucid.doctor.case import Case
from pellucid.doctor.checks import CHECKS
from pellucid.doctor.diagnosis import Diagnosis
from pellucid.doctor.finding import GENERATOR, SUPERVISED, C, Check, Finding
from pellucid.doctor.predictions import UnansweredError
from pellucid.doctor.trials import Attempt, Attempts, Verdict, establish

POOR = {"underfitting", "collapsed-predictions", "overfitting", "nan-origin"}  # signs of a failing training
BROKEN = {"collapsed-predictions", "nan-origin"}  # of which, proven, nothing else is the cause
UNTRAINED = "the weights are those from before the first step, so all is examined as not trained yet"


def diagnose(case: Case, attempts: bool = False, checks: Sequence[Check] = CHECKS) -> Diagnosis:
    """Make every check of a case, and try without each suspect whether a failing training does better.

    attempts: try the remedies of proven causes too. Checks that do not apply are skipped; UnansweredError for
    attempts without a known training.
    """
    if attempts and not case.trainable:
        raise UnansweredError("a weights file does not contain the training settings; give the run folder to try a fix")
    kind = GENERATOR if case.generates else SUPERVISED
    found, made, left_out = _asked(case, [check for check in checks if kind in check.of])
    because = _explained(made, found)
    tries = Attempts(case)
    open_to = [it for it in found if it.remedy is not None and not it.proven and it.check not in because]
    broken = any(it.proven and it.check in BROKEN for it in found)
    verdict = Verdict(False) if broken or case.generates else establish(case, open_to, tries, bool(set(because) & POOR))
    left_out |= dict.fromkeys(verdict.untried, "not tried: the trials before it took all the time")
    found = _established(found, made, verdict)
    because = _explained(made, found) | _gone(found, made, verdict, tries)
    ordered, follows, symptoms = _in_order(found, because)
    known = {id(cause.finding): cause.attempt for cause in verdict.causes}
    tried = {index: known[id(it)] for index, it in enumerate(ordered) if id(it) in known}
    if attempts:
        tried |= _tried(tries, {k: it for k, it in enumerate(ordered) if k not in follows and k not in tried})
    notes = case.notes if case.trained else (UNTRAINED, *case.notes)
    names = tuple(check.name for check in made)
    return Diagnosis(tuple(ordered), names, follows, tried, left_out, notes, case.trained, symptoms)


def examine(case: Any, checks: Sequence[Check[Any]]) -> Diagnosis:
    """Make every check of a case with `notes` and `trained`, without trials: what is not proven stays a symptom."""
    found, made, left_out = _asked(case, checks)
    ordered, follows, symptoms = _in_order(found, _explained(made, found))
    names = tuple(check.name for check in made)
    return Diagnosis(tuple(ordered), names, follows, {}, left_out, case.notes, case.trained, symptoms)


def _in_order(
    found: Sequence[Finding], because: Mapping[str, str]
) -> tuple[list[Finding], dict[int, str], frozenset[int]]:
    """Return the findings in order, causes first, which of them follow from which check, and which are symptoms."""
    ordered = sorted(found, key=lambda it: (it.check in because, not it.proven))  # stable
    follows = {index: because[it.check] for index, it in enumerate(ordered) if it.check in because}
    symptoms = frozenset(index for index, it in enumerate(ordered) if index not in follows and not it.proven)
    return ordered, follows, symptoms


def _asked(case: C, checks: Sequence[Check[C]]) -> tuple[list[Finding], list[Check[C]], dict[str, str]]:
    """Return what the checks find, those that were made, and those left out with the reason."""
    found: list[Finding] = []
    made: list[Check[C]] = []
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
        made.append(check)
    return found, made, left_out


def _established(found: Sequence[Finding], made: Sequence[Check], verdict: Verdict) -> list[Finding]:
    """Return the causes that trials established, before the other findings, of which they replace those of their name.

    What rests on a trial of its own is a cause where the training does not fail, so that no other trial was made.
    """
    own = set() if verdict.failed else {check.name for check in made if check.own_trial}
    causes = [cause.finding for cause in verdict.causes]
    names = {it.check for it in causes}
    rest = [replace(it, proven=it.proven or it.check in own) for it in found if it.check not in names]
    return [*causes, *([] if verdict.other is None else [verdict.other]), *rest]


def _gone(
    found: Sequence[Finding], made: Sequence[Check], verdict: Verdict, tries: Attempts
) -> dict[str, str]:  # fmt: skip
    """Return which symptoms go away with which cause: they are there after the trial as set, and not without it."""
    if verdict.as_set is None:
        return {}
    as_set, checks = verdict.as_set, {check.name: check for check in made}
    symptoms = [checks[name] for name in dict.fromkeys(it.check for it in found if not it.proven) if name in checks]
    if verdict.other is not None and verdict.other.proven:
        other = verdict.other.check
        return {check.name: other for check in symptoms if check.own_trial or not _finds(check, as_set)}
    gone: dict[str, str] = {}
    for cause in verdict.causes:
        for check in symptoms:
            mended = cause.attempt.mended
            if check.name in gone or mended is None:
                continue
            if check.own_trial:
                if cause.mends:  # at its own learning rate, the training works without the cause
                    gone[check.name] = cause.finding.check
            elif (tries.whole or _finds(check, as_set)) and not _finds(check, mended):
                gone[check.name] = cause.finding.check
    return gone


def _finds(check: Check, case: Case) -> bool:
    try:
        return not check.cannot_ask(case) and bool(check.look(case))
    except UnansweredError:
        return False


def _explained(made: Sequence[Check], found: Sequence[Finding]) -> dict[str, str]:
    """Return, of checks that found something, which proven one explains which: the first that does, never in a circle.

    What is proven itself follows from something else too: labels that are shuffled give copies with other labels.
    """
    names = {it.check for it in found}
    because: dict[str, str] = {}
    for check in made:
        if not any(it.proven for it in found if it.check == check.name):
            continue
        above = [check.name]
        while above[-1] in because:
            above.append(because[above[-1]])
        because |= {
            name: check.name for name in check.explains if name in names and name not in because and name not in above
        }
    return because


def _tried(attempts: Attempts, causes: Mapping[int, Finding]) -> dict[int, Attempt]:
    """Try the remedies; one that several findings of a check share is tried once."""
    done: dict[tuple[str, str], Attempt] = {}
    tried: dict[int, Attempt] = {}
    for index, finding in causes.items():
        if finding.remedy is not None:
            key = (finding.check, finding.remedy.does)
            tried[index] = done[key] = done.get(key) or attempts(finding.remedy)
    return tried
