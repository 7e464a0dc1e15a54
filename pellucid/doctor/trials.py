"""Trials: short trainings with and without a remedy, which establish suspects as causes.

A suspect is a cause if the same short training has a clearly higher score without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

import torch

from pellucid.doctor.attempts import MIN_SCORED_EXAMPLES, Attempt, Attempts, result_of
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Evidence, Finding
from pellucid.doctor.predictions import standard_error
from pellucid.doctor.rehearsal import RehearsalSettings
from pellucid.doctor.remedies import rebuilt, small_network
from pellucid.doctor.suspects import Suspect, suspects
from pellucid.errors import PellucidError

# Deficits and gains are differences of `Predictions.score`, the mean recall of the classes or R squared.
MIN_DEFICIT = 0.08  # a training fails if its score is lower by this than that of a small reference network
N_ORDERS = 3  # number of random orders of the examples with which remedies of unusual suspects are tried
MIN_MEAN_GAIN = 0.025  # by the remedy of an unusual suspect, on average over N_ORDERS orders
MIN_GAIN = 0.05  # by the remedy of any other suspect
MIN_DEVIATIONS = 3.0  # standard deviations by which a deficit or gain must exceed 0
# A remedy must recover at least this fraction of the deficit, for general and for particular suspects.
MIN_GENERAL_FRACTION, MIN_PARTICULAR_FRACTION = 0.5, 0.4
GOOD_SCORE = 0.97  # from this score on, no trials are made
# The small reference network has as many steps as the training, within these limits.
MIN_SMALL_STEPS, MAX_SMALL_STEPS, MAX_SMALL_WORK = 150, 400, 3.2e11
MAX_TOTAL_WORK = 1.6e12  # multiply-adds, for all trials of a case together
NO_WORK_LEFT = "not tried: the trials before it used up their multiply-adds"
MIN_SKEW = 0.25  # total variation distance between the classes of the predictions and of the labels
MIN_ACCURACY = 0.5  # on validation data in the last epoch; above it, the order of the examples is not the cause


@dataclass(frozen=True, eq=False)
class Cause:
    """A suspect that a trial established as a cause.

    attempt: the trial. mends: whether the training no longer fails without the cause.
    """

    finding: Finding
    attempt: Attempt
    mends: bool


@dataclass(frozen=True, eq=False)
class TrialsVerdict:
    """The result of the trials.

    failed: whether the training fails, or is slightly worse because of an established cause. causes: the causes that
    trials established. other_finding: the finding for a training that does not fail when it is rehearsed with the same
    settings, so its settings are not the cause. baseline_case: the case with the model of that rehearsal. untried: the
    reasons why suspects were not tried, by their names.
    """

    failed: bool
    causes: tuple[Cause, ...] = ()
    other_finding: Finding | None = None
    baseline_case: Case | None = None
    untried: Mapping[str, str] = field(default_factory=dict)


def establish(case: Case, findings: Sequence[Finding], attempts: Attempts, is_explained: bool = False) -> TrialsVerdict:
    """Try the suspects of a case if its training fails, and return the causes.

    findings: findings whose remedies are tried too. attempts: runs the trials. is_explained: whether a fault that
    was measured may already explain the failure.

    A training fails if its score is clearly below that of a small reference network after as many steps. If it
    does not fail, or if the failure is explained, only unusual suspects are tried. The cause is the suspect whose
    remedy raises the score most. Among remedies with about the same gain, a particular one is preferred to a general
    one, then the first in order. If the training still fails without that cause, the other particular suspects are
    tried once more without it.
    """
    part = case.scored_sample
    if len(part) < MIN_SCORED_EXAMPLES or not case.trainable or not case.has_score:
        return TrialsVerdict(False)
    is_trained = case.trained and not case.stopped
    current_score = result_of(case, case.model).score if is_trained else 0.0
    if current_score >= GOOD_SCORE:
        return TrialsVerdict(False)
    if is_explained:
        return _try_unusual_suspects(case, findings, 0.0) if is_trained else TrialsVerdict(False)
    reference = _reference_score(case)

    def fails(score: float) -> bool:
        assert reference is not None
        return reference - score >= max(MIN_DEFICIT, MIN_DEVIATIONS * standard_error(score, reference, len(part)))

    if reference is None or not fails(current_score):
        return _try_unusual_suspects(case, findings, reference or 0.0) if is_trained else TrialsVerdict(False)
    if not fails(attempts.score):
        # Rehearsed with its own settings, the training does not fail, so the settings are not the cause.
        other_finding = _finding_of_other_weights(case, attempts, current_score) if is_trained else None
        return TrialsVerdict(is_trained, other_finding=other_finding, baseline_case=attempts.baseline_case)
    causes: list[Cause] = []
    untried: dict[str, str] = {}
    trial, remaining, work = attempts, suspects(case, findings), MAX_TOTAL_WORK
    for _ in range(2):
        too_few = {suspect.finding.check: trial.too_few_steps(suspect.step_factor) for suspect in remaining}
        untried |= {name: reason for name, reason in too_few.items() if reason}
        remaining = [suspect for suspect in remaining if not too_few[suspect.finding.check]]
        tried = _try_suspects(trial, remaining, reference, work)
        work -= trial.work
        if work < 0:
            untried |= {suspect.finding.check: NO_WORK_LEFT for suspect in remaining[len(tried) :]}
        best_trial = _best_trial(tried, reference, len(part))
        if best_trial is None:
            break
        suspect, attempt = best_trial
        mends = not fails(attempt.score[1])
        causes.append(Cause(_with_scores(suspect.finding, attempt, reference), attempt, mends))
        if mends:
            break
        remaining = [other for other in remaining if other is not suspect and not other.general]
        trial = Attempts(suspect.apply(case))
    return TrialsVerdict(True, tuple(causes), None, attempts.baseline_case, untried)


def _try_unusual_suspects(case: Case, findings: Sequence[Finding], reference: float) -> TrialsVerdict:
    """Try unusual suspects, each with N_ORDERS orders of the examples to rule out chance; return the best one."""
    causes: list[tuple[float, Cause]] = []
    untried: dict[str, str] = {}
    orders = [Attempts(rebuilt(case, seed=case.model.seed + k)) for k in range(N_ORDERS)]
    for suspect in suspects(case, findings):
        if not suspect.unusual:
            continue
        is_spent = sum(attempts.work for attempts in orders) > MAX_TOTAL_WORK
        if reason := NO_WORK_LEFT if is_spent else orders[0].too_few_steps(suspect.step_factor):
            untried[suspect.finding.check] = reason
            continue
        tried: list[Attempt] = []
        for attempts in orders:
            attempt = attempts.without(suspect)
            if attempt is None or attempt.gain <= 0:
                break
            tried.append(attempt)
        if len(tried) < N_ORDERS:
            continue
        gains = [attempt.gain for attempt in tried]
        gain, min_significant = fmean(gains), MIN_DEVIATIONS * stdev(gains) / N_ORDERS**0.5
        if gain >= max(MIN_MEAN_GAIN, min_significant):
            finding = _with_scores(suspect.finding, tried[-1], reference)
            finding = replace(finding, evidence={**finding.evidence, "mean_gain": gain})
            causes.append((gain, Cause(finding, tried[-1], True)))
    if not causes:
        return TrialsVerdict(False, untried=untried)
    _, best_cause = max(causes, key=lambda pair: pair[0])
    return TrialsVerdict(True, (best_cause,), None, orders[0].baseline_case, untried)


def _reference_score(case: Case) -> float | None:
    """Return the score of the small reference network; None if its training raises an error or diverges."""
    try:
        reference_case = small_network(case)
        steps = min(max(case.steps_planned or MAX_SMALL_STEPS, MIN_SMALL_STEPS), MAX_SMALL_STEPS)
        rehearsal = reference_case.rehearse(RehearsalSettings(steps, work=MAX_SMALL_WORK, compressed=True))
    except PellucidError:
        return None
    return None if rehearsal.has_failed else result_of(reference_case, rehearsal.model).score


def _try_suspects(
    attempts: Attempts, remaining: Sequence[Suspect], reference: float, work: float
) -> list[tuple[Suspect, Attempt | None]]:  # fmt: skip
    """Try the suspects in order, until the work is spent or a remedy is sufficient.

    Returns (suspect, attempt) for each suspect that was tried; the attempt is None if the remedy does not fit the
    network.
    """
    tried: list[tuple[Suspect, Attempt | None]] = []
    for suspect in remaining:
        if attempts.work > work:
            break
        attempt = attempts.without(suspect)
        tried.append((suspect, attempt))
        if attempt is not None and reference - attempt.score[1] < MIN_GAIN:
            break
    return tried


def _best_trial(
    tried: Sequence[tuple[Suspect, Attempt | None]], reference: float, n: int
) -> tuple[Suspect, Attempt] | None:  # fmt: skip
    """Return the suspect whose remedy raises the score most, with its attempt; None if no gain is large enough."""
    pairs = [(suspect, attempt) for suspect, attempt in tried if attempt is not None]
    best_score = max([reference, *(attempt.score[1] for _, attempt in pairs)])
    sufficient_trials: list[tuple[Suspect, Attempt]] = []
    for suspect, attempt in pairs:
        fraction = MIN_GENERAL_FRACTION if suspect.general else MIN_PARTICULAR_FRACTION
        min_significant = MIN_DEVIATIONS * standard_error(*attempt.score, n)
        if attempt.gain >= max(MIN_GAIN, min_significant, fraction * (best_score - attempt.score[0])):
            sufficient_trials.append((suspect, attempt))
    if not sufficient_trials:
        return None
    top_score = max(attempt.score[1] for _, attempt in sufficient_trials)
    near_best = [pair for pair in sufficient_trials if top_score - pair[1].score[1] < MIN_GAIN]
    return next((pair for pair in near_best if not pair[0].general), near_best[0])


def _with_scores(finding: Finding, attempt: Attempt, reference: float) -> Finding:
    """Return the finding as proven, with the scores of its trial as evidence."""
    scores: Evidence = {"score_as_set": attempt.score[0], "score_without_it": attempt.score[1]}
    if reference:
        scores["score_of_a_small_network"] = reference
    return replace(finding, evidence={**finding.evidence, **scores}, proven=True)


def _finding_of_other_weights(case: Case, attempts: Attempts, current_score: float) -> Finding | None:
    """Return the finding for a training that does not fail when it is rehearsed; None if the rehearsal was too short.

    The cause is the order of the examples if the predictions are skewed; otherwise, the weights come from another
    training.
    """
    evidence: Evidence = {"score": current_score, "score_of_the_same_training_rehearsed": attempts.score}
    skew_evidence = _skew_evidence(case) if case.classifies else None
    if skew_evidence is not None:
        return Finding(
            "examples-in-order", "training", evidence | skew_evidence,
            "in random order the same training does well, and the model prefers some classes, as it does if examples "
            "come class after class",
            "train on all examples in one call of fit, which shuffles them, not on one class or file after the other",
            is_fault=True,
        )  # fmt: skip
    if not attempts.is_complete:
        return None  # the fault may occur after the rehearsed steps
    return Finding(
        "weights-of-another-training", "training", evidence,
        "the weights come from another training than the one described to the doctor",
        "give the doctor the batch size, the epochs, the augmentation and the data of the training; if they are right, "
        "find out what changed the weights afterwards",
    )  # fmt: skip


def _skew_evidence(case: Case) -> Evidence | None:
    """Return the evidence if the model predicts some classes far too often, as after training on sorted examples.

    None if it does not, or if the history has a validation accuracy above MIN_ACCURACY in the last epoch.
    """
    predictions, val_accuracies = case.class_predictions, case.column("val_accuracy")
    if predictions is None:
        return None
    predicted, y = predictions[0].classes, predictions[0].part.y
    count = int(torch.maximum(predicted.max(), y.max())) + 1
    predicted_fractions, label_fractions = (
        labels.bincount(minlength=count).double() / len(y) for labels in (predicted, y)
    )
    excess = float((predicted_fractions - label_fractions).clamp_min(0).sum())  # the total variation distance
    if excess < MIN_SKEW or (val_accuracies and val_accuracies[-1] > MIN_ACCURACY):
        return None
    return {
        "commonest_answer": case.class_name(int(predicted_fractions.argmax())),
        "its_share_of_the_answers": float(predicted_fractions.max()),
        "its_share_of_the_examples": float(label_fractions[predicted_fractions.argmax()]),
        "answers_of_classes_beyond_their_share": excess,
    }
