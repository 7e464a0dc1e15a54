"""Trainings of few steps, made with more: with smaller batches if theirs are large, otherwise with more epochs."""

from dataclasses import replace
from statistics import fmean

from pellucid.doctor.evaluations import GOOD_SCORE, Evaluations
from pellucid.doctor.exchanged_parts import FAR_RATE_RATIO
from pellucid.doctor.finding import MIN_GAIN, Suspect, suspect
from pellucid.doctor.paired import MAX_STEPS, ProvenCause
from pellucid.doctor.remedies import BATCH_SIZE, rebuilt
from pellucid.doctor.training_case import optional_fields
from pellucid.optim.schedules import Constant

MAX_FEW_STEPS = 100  # of a training; with more, it is rather another setting that keeps it from learning
MIN_LARGE_BATCH = 8 * BATCH_SIZE  # examples; smaller ones are usual
N_TIMES = 5  # as many epochs are tried
MIN_STEPS_GAIN = 0.1  # of the score; many sound trainings gain a little by more epochs


def train_with_smaller_batches(evaluations: Evaluations) -> ProvenCause | None:
    """Train with smaller batches in as many epochs, if large ones leave few steps."""
    case, steps = evaluations.case, evaluations.trainings.model_steps
    if case.batch_size < MIN_LARGE_BATCH:
        return None
    smaller_batches = suspect(
        "unsuitable-batch-size", f"batches of {case.batch_size} examples leave only {steps} steps for the training",
        f"use batches of about {BATCH_SIZE} examples", f"batches of {BATCH_SIZE} in no more epochs",
        lambda case: replace(rebuilt(case), batch_size=BATCH_SIZE), min_gain=MIN_STEPS_GAIN, general=True,
        is_likely=True, key="smaller-batches", settings={"train.batch_size": BATCH_SIZE},
        batch_size=case.batch_size, steps=steps,
    )  # fmt: skip
    return _train_for(evaluations, smaller_batches, min(steps * case.batch_size // BATCH_SIZE, MAX_STEPS))


def train_for_more_epochs(evaluations: Evaluations) -> ProvenCause | None:
    """Train for more epochs, if they have few steps."""
    case, steps = evaluations.case, evaluations.trainings.model_steps
    optional = optional_fields(case)
    epochs = optional.epochs or len(optional.history or ())
    if case.batch_size >= MIN_LARGE_BATCH:
        return None
    more_epochs = suspect(
        "too-few-epochs", f"the training ends after {steps} steps, while the network still learns",
        f"train for more epochs, at least {N_TIMES} times as many", f"{N_TIMES} times as many epochs", rebuilt,
        min_gain=MIN_STEPS_GAIN, general=True, is_likely=True, key="more-epochs",
        settings={"train.epochs": N_TIMES * epochs} if epochs else {}, steps=steps,
    )  # fmt: skip
    return _train_for(evaluations, more_epochs, N_TIMES * steps)


def or_too_few_epochs(evaluations: Evaluations, cause: ProvenCause | None) -> ProvenCause | None:
    """Return a cause, or else too few epochs if with more of them the score is clearly higher than without the cause.

    In few steps, whatever lets a network learn faster raises the score.
    """
    longer = None if cause is None else train_for_more_epochs(evaluations)
    if cause is None or longer is None or fmean(longer.effect.after) < fmean(cause.effect.after) + MIN_GAIN:
        return cause
    return longer


def _train_for(evaluations: Evaluations, change: Suspect, changed_steps: int) -> ProvenCause | None:
    """Measure a change with more steps, if the training had few and nothing else is known to be at fault.

    Not with a rate far below the usual one, for which more steps only make up, nor with a schedule, which ends with
    its own steps.
    """
    trainings, case, steps = evaluations.trainings, evaluations.case, evaluations.trainings.model_steps
    if case is not trainings.first_case:
        return None  # its number of steps is that of the doctor's trainings
    has_reason = evaluations.likely or any(finding.is_fault for finding in evaluations.findings)
    if has_reason or not evaluations.is_scored or not 0 < steps <= MAX_FEW_STEPS:
        return None
    optimizer = case.model.optimizer
    if optimizer.usual_lr >= FAR_RATE_RATIO * optimizer.lr or not isinstance(case.model.schedule, Constant):
        return None
    if float(evaluations.validation_scores.mean()) >= GOOD_SCORE:
        return None
    changed_case = change.apply(case)
    # two pairs are added to the budget, since the whole training was short
    trainings.reserve((case, steps), (changed_case, changed_steps), (changed_case, changed_steps))
    base_scores = evaluations.base_scores.setdefault(steps, {0: evaluations.validation_scores})
    cause = trainings.measure(case, change, base_scores, steps, changed_steps=changed_steps)
    return cause if cause is not None and cause.effect.surpasses(evaluations.validation_scores) else None
