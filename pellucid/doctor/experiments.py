"""Experiments: interventions on a case, one after another, until one of them proves a cause."""

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from functools import cache, partial
from math import inf
from statistics import fmean
from typing import Any

from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.doctor.case import UnansweredError, has_flat_targets
from pellucid.doctor.category_columns import CATEGORY_AS_NUMBER, train_with_one_hot_columns
from pellucid.doctor.checks import CHECKS
from pellucid.doctor.cross_fit import CROSS_FIT_KEY, SPLITS_DIFFER, compare_targets, train_on_validation_data
from pellucid.doctor.diagnosis import PARTS, Diagnosis, sorted_by_kind, with_order, without_refuted_causes
from pellucid.doctor.evaluations import GOOD_SCORE, MIN_GAP, Evaluations, with_changed_targets
from pellucid.doctor.examination import examine
from pellucid.doctor.exchanged_parts import find_faulty_part, probable_part
from pellucid.doctor.few_steps import or_too_few_epochs, train_for_more_epochs, train_with_smaller_batches
from pellucid.doctor.finding import FAILURE_SIGNS, Check, Finding, Suspect, suspect
from pellucid.doctor.intervention import MeasuredEffect
from pellucid.doctor.judged_examples import judge_training_targets, train_with_other_values
from pellucid.doctor.kinds_of_examples import train_with_exchanged_columns, train_without_kinds
from pellucid.doctor.near_copies import measure_near_copies
from pellucid.doctor.paired import PairedTrainings, ProvenCause
from pellucid.doctor.replaced_parts import (
    MIN_REFERENCE_SCORE,
    UNSOUND_DATA,
    ReplacedParts,
    can_be_tried,
    sound_case,
    with_held_out_part,
)
from pellucid.doctor.training_case import ExaminedCase, TrainingCase, optional_fields, repeats_training, validation_of
from pellucid.doctor.unchanged_validation import evaluate_unchanged_validation
from pellucid.task import Task
from pellucid.training.device import CPU

MAX_SEARCHES = 3  # for causes, with a budget; each is made in the case without the causes of those before it
MIN_PROMISING_EXAMPLES = 40  # held-out ones; with fewer, a gain of one or two of them is chance
# Of the score (the largest unclear gain of 52 sound trainings is 0.04), and of the gain that would prove the cause.
MIN_PROMISING_GAIN, MIN_PROMISING_FRACTION = 0.06, 0.8
MIN_FAULT_GAIN = 0.03  # of the score, by a remedy of a fault that is visible in the network or the loss itself


def with_causes(
    diagnosis: Diagnosis,
    task: Task,
    case: ExaminedCase,
    show: Callable[[str], object] | None = None,
    budget: float | None = None,
    attempts: bool = False,
    checks: Sequence[Check[Any]] = CHECKS,
) -> Diagnosis:
    """Return a diagnosis with the causes that interventions prove, and with all measured effects.

    Findings that the case no longer has after an intervention become consequences of its cause; a fault of the
    validation data without which the score is the same becomes a symptom. With a budget, further causes are looked for
    in the case without the first; without one, the diagnosis states that this was left out. case: nothing is tried for
    one that is no TrainingCase, and for a training that stopped with an error, only if its targets are classes or
    vectors, or if there are validation data. show: called with a sentence about each measured effect. budget: the
    multiply-adds of all trainings together, divided by those of the case's training. attempts: whether to measure the
    remedies of the findings too. checks: those to repeat in the case without a cause, unless the task has its own.
    Raises UnansweredError if `attempts` is True and the settings of the training are unknown.
    """
    optional = optional_fields(case)
    if attempts and optional.trainable is False:
        raise UnansweredError("a weights file does not contain the training settings; give the run folder to try a fix")
    if not repeats_training(case) or any(finding.proven for finding in diagnosis.findings):
        return diagnosis
    if optional.stopped and not has_flat_targets(case) and case.validation is None:
        reason = {"--try": "the training stopped with an error"} if attempts else {}
        return replace(diagnosis, left_out=diagnosis.left_out | reason)
    trainings = PairedTrainings(task, case, show or (lambda line: None), budget)
    causes: dict[str, ProvenCause] = {}
    effects: list[MeasuredEffect] = []
    untried: dict[str, str] = {}
    likely: list[tuple[Finding, TrainingCase | None]] = []
    harmless = set[str]()
    for _ in range(MAX_SEARCHES):
        findings = [finding for finding in diagnosis.findings if finding.check not in causes]
        evaluations = Evaluations(trainings, findings, _is_explained(diagnosis, causes.keys()))
        cause = _first_cause(evaluations)
        is_harmless = {finding: evaluations.is_harmless(finding) for finding in findings}
        harmless |= {one.check for one in findings if is_harmless[one]}
        harmless -= {
            one.check for one in findings if one.is_fault and not is_harmless[one] and one.path == "validation"
        }
        effects += trainings.effects
        untried |= trainings.untried
        likely += evaluations.likely
        if cause is None:
            break
        causes.setdefault(cause.finding.check, cause)  # training and validation data may have the same fault
        if fmean(cause.effect.after) >= GOOD_SCORE or cause.finding.check in (*PARTS, CATEGORY_AS_NUMBER):
            break  # the rest of a training whose part was exchanged is the reference's, not the user's
        if budget is None:
            untried["further-causes"] = "needs a budget, such as --budget 18"
            break
        trainings = trainings.without_cause(cause)
    promising = None if causes or diagnosis.causes else _most_promising(trainings, {*diagnosis.names})
    if promising is not None and (promising.suspect.finding.is_fault or not likely):
        likely = [(replace(promising.finding, proven=False, is_fault=True), promising.mended_case)]
    for finding, mended_case in likely:
        diagnosis = _with_finding(diagnosis, finding, case, mended_case, task, checks)
    for cause in reversed(causes.values()):
        diagnosis = _with_finding(diagnosis, cause.finding, case, cause.mended_case, task, checks)
    effect_by_key: dict[str, MeasuredEffect] = {}
    for effect in (*(cause.effect for cause in causes.values()), *effects):
        effect_by_key.setdefault(effect.key, effect)
    measured = tuple(effect_by_key.values())
    evaluated = [effect for effect in measured if not effect.steps]
    effective = {effect.name for effect in evaluated if effect.verdict != "no effect"}
    useless = {effect.key for effect in measured if effect.verdict == "no effect"}
    refuted = ({effect.name for effect in evaluated} | harmless) - effective
    costly = {effect.name for effect in measured if effect.verdict == "costly"}
    diagnosis = without_refuted_causes(diagnosis, refuted, useless, costly)
    tried = {k: causes[one.check].effect for k, one in enumerate(diagnosis.findings) if one.proven}
    diagnosis = replace(
        diagnosis,
        attempts=diagnosis.attempts | tried,
        left_out=diagnosis.left_out | {key: reason for key, reason in untried.items() if key not in effect_by_key},
        intervention_effects=measured,
    )
    if attempts:
        return _with_attempts(diagnosis, PairedTrainings(task, case, show or (lambda line: None), inf))
    return diagnosis


def _most_promising(trainings: PairedTrainings, names: Set[str]) -> ProvenCause | None:
    """Return the intervention on one part of the case whose gain is the largest of those that are unclear, if any.

    If there is none, the exchange that is. The budget may have ended before its gain was certain. Sound trainings gain
    less by any such intervention. names: of the checks with findings.
    """
    promising = [
        one for one in trainings.unclear
        if not one.suspect.general and one.suspect.finding.check not in (SPLITS_DIFFER, *PARTS)
        and fmean(one.effect.gains) >= (
            MIN_FAULT_GAIN if one.suspect.finding.is_fault
            else max(MIN_PROMISING_GAIN, MIN_PROMISING_FRACTION * one.suspect.min_gain)
        )
        and one.effect.examples >= MIN_PROMISING_EXAMPLES
    ]  # fmt: skip
    if not promising:
        return probable_part(trainings, not FAILURE_SIGNS.isdisjoint(names))
    return max(promising, key=lambda one: (one.suspect.finding.is_fault, fmean(one.effect.gains)))


def _is_explained(diagnosis: Diagnosis, removed: Any) -> bool:
    """Return whether a measured fault, other than the removed ones, explains signs of failure."""
    return any(
        diagnosis.findings[index].check in FAILURE_SIGNS and cause not in removed
        for index, cause in diagnosis.cause_by_consequence.items()
    )


def _first_cause(evaluations: Evaluations) -> ProvenCause | None:
    """Return the first cause that an intervention proves; None if there is none.

    For classes and vectors, particular parts of the training are replaced before other data are tried, and general ones
    too if a small network does well on the same data. For other targets, only unusual parts are replaced before.
    """
    case, untried = evaluations.case, evaluations.untried
    is_flat = has_flat_targets(case)
    experiments: list[tuple[str, Callable[[Evaluations], ProvenCause | None]]] = [
        ("other-reading", Evaluations.evaluate_changes)
    ]
    if is_trainable := optional_fields(case).trainable is not False and bool(case.steps_planned or is_flat):
        parts = cache(lambda: ReplacedParts(evaluations))

        def is_before_data(candidate: Suspect) -> bool:
            if candidate.finding.check in FAILURE_SIGNS:
                return False  # what helps against a symptom may hide its cause
            return (
                (parts().reference_score >= MIN_REFERENCE_SCORE or not candidate.general)
                if is_flat
                else candidate.unusual
            )

        experiments = [
            ("unchanged-validation", evaluate_unchanged_validation),
            ("other-values", train_with_other_values),
            ("kinds", train_without_kinds),
            ("exchanged-columns", train_with_exchanged_columns),
            *experiments,
            ("smaller-batches", train_with_smaller_batches),
            ("parts", lambda _: or_too_few_epochs(evaluations, parts().train(is_before_data))),
            ("other-targets", train_with_suggested_targets),
            ("judged-examples", judge_training_targets),
            (CROSS_FIT_KEY, train_on_validation_data),
            ("other-parts", lambda _: parts().train(lambda candidate: not is_before_data(candidate))),
            ("more-epochs", train_for_more_epochs),
            ("rare-labels", Evaluations.find_more_positives),
            ("categories", train_with_one_hot_columns),
            ("near-copies", measure_near_copies),
            ("faulty-part", find_faulty_part),
        ]
    experiments.append(("compared-targets", compare_targets))
    for key, experiment in experiments:
        try:
            proven_cause = experiment(evaluations)
        except PellucidError as error:  # the network or the data do not allow the change
            untried[key] = str(error)
            continue
        if proven_cause is not None:
            return proven_cause
    if not is_trainable and not untried and evaluations.score_gap >= MIN_GAP:
        untried["short-trainings"] = "need a run folder, or the epochs and the batch size of the training"
    return evaluations.partial_cause


def train_with_suggested_targets(evaluations: Evaluations) -> ProvenCause | None:
    """Train with each change of targets that the task proposes for training images.

    The validation targets are changed too if the task proposes the same change for validation images.
    """
    base, base_scores = evaluations.case, dict[int, Tensor]()
    if base.validation is None and (base := with_held_out_part(base)) is None:
        return None
    suggested = evaluations.other_targets(base.train, None)
    validation_changes = evaluations.other_targets(validation_of(base), None) if suggested else ()
    for target_change in suggested:
        in_both = any(change.identity == target_change.identity for change in validation_changes)
        split_names = ("train", "validation") if in_both else ("train",)
        change = suspect(
            target_change.name, f"the targets {target_change.cause}", target_change.fix, target_change.description,
            partial(with_changed_targets, split_names=split_names, apply=target_change.apply), path="train",
            key=f"targets/{target_change.identity}",
        )  # fmt: skip
        if (proven_cause := evaluations.trainings.measure(base, change, base_scores)) is not None:
            return proven_cause
    return None


def _with_finding(
    diagnosis: Diagnosis, finding: Finding, case: TrainingCase, mended_case: TrainingCase | None, task: Task,
    checks: Sequence[Check[Any]],
) -> Diagnosis:  # fmt: skip
    """Return the diagnosis of a case with a finding as the first of its kind, instead of the findings of its check.

    If it is a cause, findings that the case without it lacks become its consequences, but not faults of the same data.
    """
    findings, name, absent_checks = diagnosis.findings, finding.check, set[str]()
    other_indices = [k for k, one in enumerate(findings) if one.check != name]
    open_checks = {findings[k].check for k in other_indices if not findings[k].proven}
    if mended_case is not None and mended_case.train is case.train and mended_case.validation is case.validation:
        open_checks -= {*UNSOUND_DATA}
    if open_checks and finding.is_cause and mended_case is not None:
        repeated = [check for check in checks if check.name in open_checks]
        mended_diagnosis = task.diagnose(mended_case, False, CPU) or examine(mended_case, repeated)
        absent_checks = ({*mended_diagnosis.checks} - {*mended_diagnosis.names}) & open_checks
    resolved, new = {k for k in other_indices if findings[k].check in absent_checks}, len(findings)
    with_new = replace(
        diagnosis, findings=(*findings, finding),
        cause_by_consequence=diagnosis.cause_by_consequence | dict.fromkeys(resolved, name),
        symptoms=(diagnosis.symptoms - resolved) | ({new} if not finding.is_cause else set()),
        resolved=diagnosis.resolved | resolved,
    )  # fmt: skip
    n_causes = 0 if finding.is_cause else sum(findings[k].is_cause for k in other_indices)
    return with_order(with_new, [*other_indices[:n_causes], new, *other_indices[n_causes:]])


def _with_attempts(diagnosis: Diagnosis, trainings: PairedTrainings) -> Diagnosis:
    """Return the diagnosis with the effects of the remedies that are not measured yet, each tried once.

    Findings whose remedy has a clearly better score become causes.
    """
    findings, reasons = list(diagnosis.findings), dict[str, str]()
    base, base_scores = sound_case(Evaluations(trainings, findings, False)), dict[int, Tensor]()
    tried, effect_by_remedy = dict(diagnosis.attempts), dict[tuple[str, str], MeasuredEffect]()
    for index, finding in enumerate(findings):
        if finding.remedy is None or finding.proven or index in diagnosis.cause_by_consequence:
            continue
        key, n_effects = (finding.check, finding.remedy.key), len(trainings.effects)
        if base is None or not can_be_tried(finding, base, trainings):
            reasons[finding.check] = "its fix cannot be tried: too few examples, no validation data, or faults in them"
        elif key not in effect_by_remedy and finding.check not in reasons:
            try:
                trainings.measure(base, Suspect(finding), base_scores, trainings.max_steps)
            except PellucidError as error:  # the remedy does not fit the network
                reasons[finding.check] = str(error)
            if len(trainings.effects) > n_effects:
                effect_by_remedy[key] = trainings.effects[-1]
            elif finding.check not in reasons:
                reasons[finding.check] = trainings.untried[finding.remedy.key]
        if key in effect_by_remedy:
            tried[index] = effect_by_remedy[key]
            findings[index] = replace(finding, proven=tried[index].verdict == "cause")
    return sorted_by_kind(
        replace(
            diagnosis,
            findings=tuple(findings),
            attempts=tried,
            left_out=diagnosis.left_out | reasons,
            symptoms=frozenset(k for k in diagnosis.symptoms if not findings[k].proven),
        )
    )
