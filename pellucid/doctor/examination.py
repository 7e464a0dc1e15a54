"""The examination of a case by every check, with trials of what may have caused a failing training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pellucid.doctor.attempts import Attempt, Attempts
from pellucid.doctor.case import Case
from pellucid.doctor.checks import CHECKS
from pellucid.doctor.diagnosis import Diagnosis
from pellucid.doctor.finding import C, Check, Finding
from pellucid.doctor.predictions import UnansweredError
from pellucid.doctor.trials import TrialsVerdict, establish
from pellucid.training.viewed import OtherObjectiveError

POOR = {"underfitting", "collapsed-predictions", "overfitting", "nan-origin"}  # signs of a failing training
BROKEN = {"collapsed-predictions", "nan-origin"}  # measured directly, they need no trials
UNTRAINED = "the weights are those before the first step, so the model is examined as not trained yet"


def diagnose(case: Case, attempts: bool = False, checks: Sequence[Check] = CHECKS) -> Diagnosis:
    """Run every check on a case, and if its training fails, test whether it does better without each suspect.

    attempts: whether to try the remedies of likely causes too. Checks that do not apply are skipped. Raises
    UnansweredError for attempts if the settings of the training are unknown.
    """
    if attempts and not case.trainable:
        raise UnansweredError("a weights file does not contain the training settings; give the run folder to try a fix")
    found, made_checks, left_out = _run_checks(case, checks)
    because = _explained(made_checks, found)
    tries = Attempts(case)
    untested = [finding for finding in found if not finding.is_cause and finding.check not in because]
    unproven = [finding for finding in untested if finding.remedy is not None]
    broken = any(finding.direct and finding.check in BROKEN for finding in found)
    explained = bool(set(because) & POOR)
    verdict = TrialsVerdict(False) if broken else establish(case, unproven, tries, explained)
    left_out |= dict.fromkeys(verdict.untried, "not tried: the trials before it used up their multiply-adds")
    found = _established(found, made_checks, verdict)
    consequences = _consequences(found, made_checks, verdict)
    because = _explained(made_checks, found) | {name: cause for name, (cause, _) in consequences.items()}
    ordered, follows, symptoms = _in_order(found, because)
    measured = frozenset(index for index in follows if consequences.get(ordered[index].check, ("", False))[1])
    trials = {id(cause.finding): cause.attempt for cause in verdict.causes}
    tried = {index: trials[id(finding)] for index, finding in enumerate(ordered) if id(finding) in trials}
    if attempts:
        untried = {k: finding for k, finding in enumerate(ordered) if k not in follows and k not in tried}
        tried |= _try_remedies(tries, untried)
    notes = case.notes if case.trained else (UNTRAINED, *case.notes)
    names = tuple(check.name for check in made_checks)
    return Diagnosis(tuple(ordered), names, follows, tried, left_out, notes, case.trained, symptoms, measured)


def examine(case: Any, checks: Sequence[Check[Any]]) -> Diagnosis:
    """Run every check on a case that has `notes` and `trained`, without trials, so that no cause is proven."""
    found, made_checks, left_out = _run_checks(case, checks)
    ordered, follows, symptoms = _in_order(found, _explained(made_checks, found))
    names = tuple(check.name for check in made_checks)
    return Diagnosis(tuple(ordered), names, follows, {}, left_out, case.notes, case.trained, symptoms)


def _in_order(
    findings: Sequence[Finding], because: Mapping[str, str]
) -> tuple[list[Finding], dict[int, str], frozenset[int]]:
    """Return the findings (causes first), the cause of each consequence, and the indices of the symptoms.

    because: the name of the check that explains a check, by name.
    """
    ordered = sorted(findings, key=lambda finding: (finding.check in because, not finding.is_cause))  # stable
    follows = {index: because[finding.check] for index, finding in enumerate(ordered) if finding.check in because}
    symptoms = frozenset(
        index for index, finding in enumerate(ordered) if index not in follows and not finding.is_cause
    )
    return ordered, follows, symptoms


def _run_checks(case: C, checks: Sequence[Check[C]]) -> tuple[list[Finding], list[Check[C]], dict[str, str]]:
    """Return the findings, the checks that were made, and the reason for each check that was skipped, by name."""
    found: list[Finding] = []
    made_checks: list[Check[C]] = []
    left_out: dict[str, str] = {}
    for check in checks:
        if why := check.cannot_ask(case):
            left_out[check.name] = why
            continue
        try:
            found += (replace(finding, direct=finding.direct or check.direct) for finding in check.look(case))
        except UnansweredError as error:
            left_out[check.name] = str(error)
            continue
        except OtherObjectiveError:
            left_out[check.name] = "needs one network with one loss"
            continue
        made_checks.append(check)
    return found, made_checks, left_out


def _established(findings: Sequence[Finding], checks: Sequence[Check], verdict: TrialsVerdict) -> list[Finding]:
    """Return the causes that trials established, followed by the other findings.

    A cause replaces the findings of the same name. If the training does not fail, no such trials are made; the findings
    of checks that make their own trial then count as causes.
    """
    own = set() if verdict.failed else {check.name for check in checks if check.own_trial}
    causes = [cause.finding for cause in verdict.causes]
    names = {cause.check for cause in causes}
    others = [finding for finding in findings if finding.check not in names]
    rest = [replace(finding, proven=finding.proven or finding.check in own) for finding in others]
    return [*causes, *([] if verdict.other is None else [verdict.other]), *rest]


def _consequences(
    findings: Sequence[Finding], checks: Sequence[Check], verdict: TrialsVerdict
) -> dict[str, tuple[str, bool]]:  # fmt: skip
    """Return the cause of each symptom that goes away with it, and whether trials measured that, by the symptom's name.

    Measured: the symptom is found after the trial with the training's own settings, but not after the trial without the
    cause; or if no setting is to blame, it is not found after the former. Likely: it is missing after both, and both
    made all steps of the training. A check with a trial of its own is not repeated: with a cause that mends the
    training, the training works at its own learning rate.
    """
    other = verdict.other if verdict.other is not None and verdict.other.direct else None
    if verdict.as_set is None or not (other or verdict.causes):
        return {}
    symptoms = _symptoms(findings, checks)
    as_set = {check.name: _finds(check, verdict.as_set) for check in symptoms if not check.own_trial}
    if other is not None:
        return {
            check.name: (other.check, not check.own_trial)
            for check in symptoms
            if check.own_trial or as_set[check.name] is False
        }
    consequences: dict[str, tuple[str, bool]] = {}
    for cause in verdict.causes:
        mended, is_complete = cause.attempt.mended, cause.attempt.steps == cause.attempt.planned
        if mended is None:
            continue
        for check in symptoms:
            without = None if check.own_trial else _finds(check, mended)
            measured = without is False and bool(as_set[check.name])
            likely = cause.mends if check.own_trial else is_complete and not without
            _, known = consequences.get(check.name, ("", False))
            if (measured and not known) or (likely and check.name not in consequences):
                consequences[check.name] = (cause.finding.check, measured)
    return consequences


def _symptoms(findings: Sequence[Finding], checks: Sequence[Check]) -> list[Check]:
    """Return the checks with findings that are not causes."""
    names = {finding.check for finding in findings if not finding.is_cause}
    return [check for check in checks if check.name in names]


def _finds(check: Check, case: Case) -> bool | None:
    """Return whether a check finds something in a case; None if it cannot be made."""
    try:
        return None if check.cannot_ask(case) else bool(check.look(case))
    except UnansweredError:
        return None


def _explained(made_checks: Sequence[Check], findings: Sequence[Finding]) -> dict[str, str]:
    """Return the first check with causes that may explain each other check with findings, by name, without cycles.

    Causes may follow from other ones too: shuffled labels give copies with different labels.
    """
    names = {finding.check for finding in findings}
    because: dict[str, str] = {}
    for check in made_checks:
        if not any(finding.is_cause for finding in findings if finding.check == check.name):
            continue
        above = [check.name]
        while above[-1] in because:
            above.append(because[above[-1]])
        because |= {
            name: check.name for name in check.explains if name in names and name not in because and name not in above
        }
    return because


def _try_remedies(attempts: Attempts, causes: Mapping[int, Finding]) -> dict[int, Attempt]:
    """Try the remedies of the causes; a remedy that several findings of a check share is tried once."""
    done: dict[tuple[str, str], Attempt] = {}
    tried: dict[int, Attempt] = {}
    for index, finding in causes.items():
        if finding.remedy is not None:
            key = (finding.check, finding.remedy.does)
            tried[index] = done[key] = done.get(key) or attempts(finding.remedy)
    return tried
