"""The examination of a case by checks, without experiments."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pellucid.doctor.case import UnansweredError
from pellucid.doctor.checks import confused_labels
from pellucid.doctor.diagnosis import Diagnosis
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.training_case import ExaminedCase
from pellucid.training.viewed import OtherObjectiveError


def examine(case: ExaminedCase, checks: Sequence[Check[Any]]) -> Diagnosis:
    """Return the findings of the checks on a case of any task; no cause is proven.

    They are in order: likely causes, symptoms, then consequences of causes. Checks that do not apply are skipped.
    """
    found: list[Finding] = []
    made_checks: list[Check[Any]] = []
    skip_reasons: dict[str, str] = {}
    for check in checks:
        findings, reason = _results(check, case)
        if reason:
            skip_reasons[check.name] = reason
        else:
            found += findings
            made_checks.append(check)
    cause_by_check = _causes_by_check(made_checks, found)
    ordered = sorted(found, key=lambda finding: (finding.check in cause_by_check, not finding.is_cause))  # stable
    cause_by_index = {k: cause_by_check[one.check] for k, one in enumerate(ordered) if one.check in cause_by_check}
    symptoms = frozenset(k for k, one in enumerate(ordered) if k not in cause_by_index and not one.is_cause)
    return Diagnosis(
        tuple(ordered),
        tuple(check.name for check in made_checks),
        cause_by_index,
        attempts={},
        left_out=skip_reasons,
        notes=case.notes,
        trained=case.trained,
        symptoms=symptoms,
    )


def _results(check: Check[Any], case: ExaminedCase) -> tuple[list[Finding], str]:
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
