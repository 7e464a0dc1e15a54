"""The examination of a case by every check, with trials of the suspects if the training fails."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from pellucid.doctor.attempts import MIN_SCORED_EXAMPLES, Attempt, Attempts, too_few_steps
from pellucid.doctor.case import Case
from pellucid.doctor.checks import (
    CHECKS,
    confused_labels,
    overfitting,
    preprocessing_mismatch,
    shifted_labels,
    shuffled_labels,
)
from pellucid.doctor.checks.learning_rate_too_high import trial_steps
from pellucid.doctor.diagnosis import Diagnosis
from pellucid.doctor.finding import C, Check, Finding
from pellucid.doctor.predictions import UnansweredError
from pellucid.doctor.trials import TrialsVerdict, establish
from pellucid.training.examples import split
from pellucid.training.viewed import OtherObjectiveError

FAILURE_SIGNS = {"underfitting", "collapsed-predictions", "overfitting", "nan-origin"}  # signs of a failing training
MEASURED_FAILURES = {"collapsed-predictions", "nan-origin"}  # if their findings are faults, no trials are made
DATA_FAULTS = (preprocessing_mismatch.NAME, shifted_labels.NAME, shuffled_labels.NAME)
UNTRAINED_NOTE = "the weights are those before the first step, so the model is examined as not trained yet"


def diagnose(case: Case, attempts: bool = False, checks: Sequence[Check] = CHECKS) -> Diagnosis:
    """Run every check on a case and, if its training fails, measure by trials whether it improves without each suspect.

    attempts: whether to try the remedies of likely causes too. Checks that do not apply are skipped. Raises
    UnansweredError if `attempts` is True and the settings of the training are unknown.
    """
    if attempts and not case.trainable:
        raise UnansweredError("a weights file does not contain the training settings; give the run folder to try a fix")
    findings, made_checks, skip_reasons = _run_checks(case, checks)
    cause_by_check = _causes_by_check(made_checks, findings)
    tries, sound_case = Attempts(case), _sound_case(case, findings)
    if overfitting.NAME not in cause_by_check:
        findings = [overfitting.with_trial(one, tries) if one.check == overfitting.NAME else one for one in findings]
    symptoms = [finding for finding in findings if not finding.is_cause and finding.check not in cause_by_check]
    unproven = [finding for finding in symptoms if finding.remedy is not None]
    is_broken = any(finding.is_fault and finding.check in MEASURED_FAILURES for finding in findings)
    is_explained = sound_case is case and bool(cause_by_check.keys() & FAILURE_SIGNS)
    sound_tries = tries if sound_case is case else Attempts(sound_case)
    verdict = TrialsVerdict(False) if is_broken else establish(sound_case, unproven, sound_tries, is_explained)
    if sound_case is not case:  # the weights come from the data at fault, so they need no other explanation
        verdict = replace(verdict, other_finding=None)
    skip_reasons |= verdict.untried
    own_trial_checks = set() if verdict.failed else {check.name for check in made_checks if check.runs_trial}
    if reason := too_few_steps(trial_steps(case)):
        skip_reasons |= {finding.check: reason for finding in findings if finding.check in own_trial_checks}
        own_trial_checks = set()
    findings = _with_established_causes(findings, own_trial_checks, verdict)
    consequences = _consequences(findings, made_checks, verdict)
    cause_by_check = _causes_by_check(made_checks, findings)
    cause_by_check |= {name: cause for name, (cause, _) in consequences.items()}
    diagnosis = _diagnosis(case, findings, made_checks, skip_reasons, cause_by_check)
    ordered, cause_by_index = diagnosis.findings, diagnosis.cause_by_consequence
    resolved = frozenset(index for index in cause_by_index if consequences.get(ordered[index].check, ("", False))[1])
    attempt_by_finding = {id(cause.finding): cause.attempt for cause in verdict.causes}
    tried = {k: attempt_by_finding[id(one)] for k, one in enumerate(ordered) if id(one) in attempt_by_finding}
    if attempts:
        untried = {k: finding for k, finding in enumerate(ordered) if k not in cause_by_index and k not in tried}
        results, unproven_reasons = _try_remedies(tries, untried)
        tried |= results
        skip_reasons |= unproven_reasons
    notes = case.notes if case.trained else (UNTRAINED_NOTE, *case.notes)
    return replace(diagnosis, attempts=tried, left_out=skip_reasons, notes=notes, resolved=resolved)


def examine(case: Any, checks: Sequence[Check[Any]]) -> Diagnosis:
    """Run every check on a case of any class with `notes` and `trained`, without trials, so no cause is proven."""
    findings, made_checks, skip_reasons = _run_checks(case, checks)
    return _diagnosis(case, findings, made_checks, skip_reasons, _causes_by_check(made_checks, findings))


def _sound_case(case: Case, findings: Sequence[Finding]) -> Case:
    """Return the case for trials, without data at fault, so that trials can find other causes.

    If the validation data are at fault, it is scored on training data. If labels do not belong to their inputs in the
    training data, it has one half of the validation data instead, with the other half for the scores, if both are
    large enough.
    """
    faults = {(finding.check, finding.path) for finding in findings if finding.is_fault}
    if any((name, "validation") in faults for name in DATA_FAULTS):
        return replace(case, validation=None)
    held_out, is_unpaired = case.validation, (shuffled_labels.NAME, "train") in faults
    if not is_unpaired or not case.epochs or held_out is None or len(held_out) < 2 * MIN_SCORED_EXAMPLES:
        return case
    train, validation = split(held_out, 0.5, case.model.seed)
    return replace(
        case, train=train, validation=validation, epochs=max(round(case.epochs * len(case.train) / len(train)), 1)
    )


def _diagnosis(
    case: Any, findings: Sequence[Finding], made_checks: Sequence[Check[Any]], skip_reasons: dict[str, str],
    cause_by_check: Mapping[str, str],
) -> Diagnosis:  # fmt: skip
    """Return the findings in order: causes, symptoms, then consequences.

    cause_by_check: the name of the cause by the name of the check whose findings are its consequences.
    """
    ordered = sorted(findings, key=lambda finding: (finding.check in cause_by_check, not finding.is_cause))  # stable
    cause_by_index = {k: cause_by_check[one.check] for k, one in enumerate(ordered) if one.check in cause_by_check}
    symptoms = frozenset(k for k, one in enumerate(ordered) if k not in cause_by_index and not one.is_cause)
    names = tuple(check.name for check in made_checks)
    return Diagnosis(tuple(ordered), names, cause_by_index, {}, skip_reasons, case.notes, case.trained, symptoms)


def _run_checks(case: C, checks: Sequence[Check[C]]) -> tuple[list[Finding], list[Check[C]], dict[str, str]]:
    """Return the findings, the checks that were made, and by name the reason why a check was skipped."""
    findings: list[Finding] = []
    made_checks: list[Check[C]] = []
    skip_reasons: dict[str, str] = {}
    for check in checks:
        found, reason = _results(check, case)
        if reason:
            skip_reasons[check.name] = reason
        else:
            findings += found
            made_checks.append(check)
    return findings, made_checks, skip_reasons


def _results(check: Check[C], case: C) -> tuple[list[Finding], str]:
    """Return the findings of a check, and the reason why it cannot be made, "" if it can."""
    if reason := check.skip_reason(case):
        return [], reason
    try:
        found = check.find(case)
    except UnansweredError as error:
        return [], str(error)
    except OtherObjectiveError:
        return [], "needs one network with one loss"
    return [replace(finding, is_fault=finding.is_fault or check.finds_faults) for finding in found], ""


def _with_established_causes(
    findings: Sequence[Finding], own_trial_checks: Set[str], verdict: TrialsVerdict
) -> list[Finding]:
    """Return the causes that trials established, followed by the other findings.

    A cause replaces the findings of the check with its name. own_trial_checks: the names of the checks whose own trial
    proves their findings.
    """
    causes = [cause.finding for cause in verdict.causes]
    names = {cause.check for cause in causes}
    return causes + ([] if verdict.other_finding is None else [verdict.other_finding]) + [
        replace(finding, proven=finding.proven or finding.check in own_trial_checks)
        for finding in findings if finding.check not in names
    ]  # fmt: skip


def _consequences(
    findings: Sequence[Finding], checks: Sequence[Check], verdict: TrialsVerdict
) -> dict[str, tuple[str, bool]]:  # fmt: skip
    """Return by check name the cause of each symptom that goes away with it, and whether trials measured this.

    It is measured if the symptom is found after the trial with the training's own settings, but not after the trial
    without the cause. If the cause is not a setting (`TrialsVerdict.other_finding`), it is measured if the symptom is
    not found after the first of these trials. It is likely, but not measured, if the symptom is found after neither
    trial and both made all steps of the training. A check with its own trial is not repeated: if removing a cause makes
    the training succeed, the learning rate is not at fault.
    """
    other_finding = verdict.other_finding
    if other_finding is not None and not other_finding.is_fault:
        other_finding = None
    if verdict.baseline_case is None or not (other_finding or verdict.causes):
        return {}
    symptom_names = {finding.check for finding in findings if not finding.is_cause}
    symptoms = [check for check in checks if check.name in symptom_names]
    found = {check.name: _finds(check, verdict.baseline_case) for check in symptoms if not check.runs_trial}
    if other_finding is not None:
        left = [check for check in symptoms if check.runs_trial or found[check.name] is False]
        return {check.name: (other_finding.check, not check.runs_trial) for check in left}
    consequences: dict[str, tuple[str, bool]] = {}
    for cause in verdict.causes:
        mended_case, is_complete = cause.attempt.mended_case, cause.attempt.steps == cause.attempt.steps_planned
        if mended_case is None:
            continue
        for check in symptoms:
            is_found_without_cause = None if check.runs_trial else _finds(check, mended_case)
            is_measured = is_found_without_cause is False and bool(found[check.name])
            is_likely = cause.mends if check.runs_trial else is_complete and is_found_without_cause is False
            _, is_known = consequences.get(check.name, ("", False))
            if (is_measured and not is_known) or (is_likely and check.name not in consequences):
                consequences[check.name] = (cause.finding.check, is_measured)
    return consequences


def _finds(check: Check, case: Case) -> bool | None:
    """Return whether a check has findings for a case; None if the check cannot be made."""
    found, reason = _results(check, case)
    return None if reason else bool(found)


def _causes_by_check(made_checks: Sequence[Check], findings: Sequence[Finding]) -> dict[str, str]:
    """Return, by the name of a check with findings, the first check whose causes may explain them, without cycles.

    Causes may be consequences of other causes too: shuffled labels lead to copies with different labels. Faults of the
    validation data explain only findings of checks that compare both data sets.
    """
    check_names = {finding.check for finding in findings}
    found_elsewhere = {finding.check for finding in findings if finding.path != "validation"} - {confused_labels.NAME}
    cause_by_check: dict[str, str] = {}
    for check in made_checks:
        cause_paths = {finding.path for finding in findings if finding.check == check.name and finding.is_cause}
        if not cause_paths:
            continue
        ancestors = [check.name]
        while ancestors[-1] in cause_by_check:
            ancestors.append(cause_by_check[ancestors[-1]])
        explained = (check_names & {*check.explains}) - cause_by_check.keys() - {*ancestors}
        if cause_paths == {"validation"}:
            explained -= found_elsewhere
        cause_by_check |= dict.fromkeys(explained, check.name)
    return cause_by_check


def _try_remedies(attempts: Attempts, causes: Mapping[int, Finding]) -> tuple[dict[int, Attempt], dict[str, str]]:
    """Try the remedies of the causes; a remedy that findings share is tried once.

    Returns the results by index and, if the trials have too few steps, the reason by the name of each check.
    """
    names = [finding.check for finding in causes.values() if finding.remedy is not None]
    if names and (reason := attempts.too_few_steps()):
        return {}, dict.fromkeys(names, reason)
    attempt_by_remedy: dict[tuple[str, str], Attempt] = {}
    attempt_by_index: dict[int, Attempt] = {}
    for index, finding in causes.items():
        if finding.remedy is not None:
            key = (finding.check, finding.remedy.description)
            attempt_by_index[index] = attempt_by_remedy[key] = attempt_by_remedy.get(key) or attempts(finding.remedy)
    return attempt_by_index, {}
