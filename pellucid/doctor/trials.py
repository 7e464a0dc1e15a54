"""Short trainings that try remedies, and which suspects they establish as causes.

A suspect is a cause if without it the same short training does clearly better.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

import torch

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Evidence, Finding, Remedy
from pellucid.doctor.predictions import UnansweredError, predictions, score, standard_error
from pellucid.doctor.rehearsal import Rehearsal, Settings
from pellucid.doctor.remedies import rebuilt, small_network
from pellucid.doctor.suspects import Suspect, suspects
from pellucid.errors import PellucidError

MAX_STEPS = 600  # and no more than the training has
PATIENCE = 8.0  # seconds of the steps without a remedy
# All of these are of the score: the mean recall of the classes, or the share of the variance that is explained.
BEHIND = 0.08  # a training that is so much worse than a small network of the usual kind has a fault
SLIGHTLY, ORDERS = 0.025, 3  # what the remedy of something odd must gain on average, in so many orders of the examples
MARGIN = 0.05  # a remedy that gains less is not a remedy
SURE = 3.0  # standard deviations that both must exceed
GENERAL_GAIN, PARTICULAR_GAIN = 0.5, 0.4  # of what is missing that a remedy must bring back
GOOD = 0.97  # a model of this score has no fault that a trial could find
MIN_EXAMPLES = 20  # that are measured
SMALL_STEPS, SMALL_SECONDS = 400, 8.0  # of the small network
ALL_SECONDS = 40.0  # of all trials together
SKEWED = 0.25  # of the predictions, beyond the shares of their classes
MIN_ACCURACY = 0.5  # at the end of a training, from which on nothing was forgotten


@dataclass(frozen=True)
class Attempt:
    """The loss and the accuracy on the same examples after the same number of steps, without and with a remedy.

    planned: the steps of the whole training, 0 where they are unknown. None: of a training that broke, and of the
    accuracy where there are no classes. longer: how many times the steps were made with the remedy. score:
    `predictions.score` without and with it. mended: the case with the remedy, with its trained model.
    """

    does: str
    steps: int
    loss: tuple[float | None, float | None]
    accuracy: tuple[float | None, float | None]
    measured_on: str
    planned: int = 0
    longer: float = 1.0
    score: tuple[float, float] = (0.0, 0.0)
    mended: Case | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the attempt as values of JSON."""
        return {
            "remedy": self.does,
            "steps": self.steps,
            "steps_with_the_remedy": round(self.steps * self.longer),
            "steps_of_the_training": self.planned or None,
            "measured_on": self.measured_on,
            "loss": {"before": self.loss[0], "after": self.loss[1]},
            "accuracy": {"before": self.accuracy[0], "after": self.accuracy[1]},
        }


class Attempts:
    """Tries remedies: trains shortly as the case is set and with a remedy, with the same seed and order.

    Both are measured on the validation data, if there are any. As it is set, the case is trained only once, for as many
    of the steps as PATIENCE allows, and no longer than the training itself; the remedies get as many. Schedules are run
    through whole.
    """

    def __init__(self, case: Case, steps: int = MAX_STEPS) -> None:
        self.case = case
        self.steps = min(steps, case.steps_planned or steps)

    @cached_property
    def _before(self) -> Rehearsal:
        return self.case.rehearse(Settings(self.steps, seconds=PATIENCE, whole=True))

    @cached_property
    def _measured(self) -> tuple[float | None, float | None]:
        return _outcome(self.case, self._before)

    @property
    def as_set(self) -> Case:
        """The case with the model that its training results in."""
        return replace(self.case, model=self._before.model, history=None, stopped="")

    @cached_property
    def score(self) -> float:
        """The score of the training with its own settings."""
        return 0.0 if self._before.broke else case_score(self.as_set)

    @property
    def whole(self) -> bool:
        """Whether these are all steps of the training."""
        return self.made == self.case.steps_planned

    @property
    def made(self) -> int:
        """The steps that are made without a remedy."""
        return len(self._before.losses) if self._before.late else self.steps

    def __call__(self, remedy: Remedy, longer: float = 1.0) -> Attempt:
        """Try a remedy, with `longer` times the steps."""
        case, made = self.case, self.made
        mended = remedy.apply(case)
        if longer > 1 and mended.epochs and mended.steps_planned < longer * case.steps_planned:
            mended = replace(mended, epochs=round(longer * case.epochs))  # which the schedule spans
        done = mended.rehearse(Settings(max(round(made * longer), 1), seconds=max(longer, 2.0) * PATIENCE, whole=True))
        after = replace(mended, model=done.model)
        (loss, accuracy), (new_loss, new_accuracy) = self._measured, _outcome(mended, done)
        scores = self.score, 0.0 if done.broke else case_score(after)
        on = "train" if case.validation is None else "validation"
        return Attempt(
            remedy.does, made, (loss, new_loss), (accuracy, new_accuracy), on, case.steps_planned, longer, scores, after
        )  # fmt: skip


def case_score(case: Case) -> float:
    """Return the score of the case's model on the validation sample; 0 where it has none."""
    try:
        return score(case.model, case.validation_sample or case.sample, case.classifies)
    except UnansweredError:
        return 0.0


def _outcome(case: Case, done: Rehearsal) -> tuple[float | None, float | None]:
    if done.broke:
        return None, None
    try:
        found = predictions(done.model, case.validation_sample or case.sample)
    except UnansweredError:  # finite weights, infinite outputs
        return None, None
    return found.loss, found.accuracy if case.classifies else None


@dataclass(frozen=True, eq=False)
class Cause:
    """A suspect that a trial established, with the trial. mends: whether without it the training lacks nothing more."""

    finding: Finding
    attempt: Attempt
    mends: bool


@dataclass(frozen=True, eq=False)
class Verdict:
    """The result of the trials. failed: whether the training is so bad that there were any.

    as_set: the case with the model that results when its training is rehearsed. untried: suspects for which there was
    no time. other: the finding where the same training, rehearsed, does well, so that no setting is to blame.
    """

    failed: bool
    causes: tuple[Cause, ...] = ()
    other: Finding | None = None
    as_set: Case | None = None
    untried: tuple[str, ...] = ()


def establish(case: Case, more: Sequence[Finding], attempts: Attempts, explained: bool = False) -> Verdict:
    """Try the suspects of a case if its training fails. more: findings whose remedies are suspects too.

    Where little is missing, or a check's proof explained it, what is odd at sight is tried alone.

    A training fails if the model is worse than a small network of the usual kind is after a few hundred steps. Of the
    remedies that bring back what is missing, the best is the cause's; of those as good as the best, a particular one
    before a general one, and the first in their order. If much is still missing without that cause, the others are
    tried once more without it, the particular ones.
    """
    part = case.validation_sample or case.sample
    if len(part) < MIN_EXAMPLES or not case.trainable:
        return Verdict(False)
    is_trained = case.trained and not case.stopped
    now = case_score(case) if is_trained else 0.0
    if now >= GOOD:
        return Verdict(False)
    if explained:
        return _slightly_worse(case, more, 0.0) if is_trained else Verdict(False)
    reference = _reference(case)

    def fails(found: float) -> bool:
        assert reference is not None
        return reference - found >= max(BEHIND, SURE * standard_error(found, reference, len(part)))

    if reference is None or not fails(now):
        return _slightly_worse(case, more, reference or 0.0) if is_trained else Verdict(False)
    begun = time.monotonic()
    if not fails(attempts.score):
        # As it is set, the training does well: the fault is not in its settings.
        other = _other_weights(case, attempts, now) if is_trained else None
        return Verdict(is_trained, other=other, as_set=attempts.as_set)
    causes: list[Cause] = []
    untried: list[str] = []
    current, remaining = attempts, suspects(case, more)
    for _ in range(2):
        tried = _trials(current, remaining, reference, begun + ALL_SECONDS)
        if time.monotonic() > begun + ALL_SECONDS:
            untried += [one.finding.check for one in remaining[len(tried) :]]
        best = _best([pair for pair in tried if pair is not None], current.score, reference, len(part))
        if best is None:
            break
        suspect, attempt = best
        mends = not fails(attempt.score[1])
        causes.append(Cause(_measured(suspect.finding, attempt, reference), attempt, mends))
        if mends:
            break
        remaining = [one for one in remaining if one is not suspect and not one.general]
        current = Attempts(suspect.apply(case))
    return Verdict(True, tuple(causes), None, attempts.as_set, tuple(dict.fromkeys(untried)))


def _slightly_worse(case: Case, more: Sequence[Finding], reference: float) -> Verdict:
    """Try what is odd at sight where little is missing, with several orders of the examples, to rule out chance."""
    causes: list[tuple[float, Cause]] = []
    until = time.monotonic() + ALL_SECONDS
    orders = [Attempts(rebuilt(case, seed=case.model.seed + k)) for k in range(ORDERS)]
    for one in suspects(case, more):
        if not one.odd or time.monotonic() > until:
            continue
        gains: list[float] = []
        attempt: Attempt | None = None
        for tries in orders:
            try:
                attempt = tries(one.remedy, one.longer)
            except PellucidError:  # the remedy does not fit this network
                break
            gains.append(attempt.score[1] - attempt.score[0])
            if gains[-1] <= 0:
                break
        if attempt is not None and len(gains) == ORDERS and min(gains) > 0 and fmean(gains) >= _clear(gains):
            known = {**_measured(one.finding, attempt, reference).evidence, "mean_gain": fmean(gains)}
            causes.append((fmean(gains), Cause(replace(one.finding, evidence=known, proven=True), attempt, True)))
    if not causes:
        return Verdict(False)
    _, best = max(causes, key=lambda pair: pair[0])
    return Verdict(True, (best,), None, orders[0].as_set)


def _clear(gains: Sequence[float]) -> float:
    """Return what the mean of gains must reach to be none of chance."""
    return max(SLIGHTLY, SURE * stdev(gains) / len(gains) ** 0.5)


def _reference(case: Case) -> float | None:
    """Return the score of the small network; None where there is nothing to learn or no time to learn it."""
    try:
        small = small_network(case)
        done = small.rehearse(Settings(SMALL_STEPS, seconds=SMALL_SECONDS, whole=True))
    except PellucidError:
        return None
    return None if done.broke else case_score(replace(small, model=done.model))


def _trials(
    current: Attempts, remaining: Sequence[Suspect], reference: float, until: float
) -> list[tuple[Suspect, Attempt] | None]:  # fmt: skip
    """Try one suspect after the other, until the time is over or a particular one is enough; None where none fits."""
    tried: list[tuple[Suspect, Attempt] | None] = []
    enough = False
    for one in remaining:
        if enough or time.monotonic() > until:
            break
        try:
            attempt = current(one.remedy, one.longer)
        except PellucidError:  # the remedy does not fit this network
            tried.append(None)
            continue
        tried.append((one, attempt))
        enough = not one.general and reference - attempt.score[1] < MARGIN
    return tried


def _best(
    tried: Sequence[tuple[Suspect, Attempt]], before: float, reference: float, n: int
) -> tuple[Suspect, Attempt] | None:  # fmt: skip
    """Return the suspect whose remedy brings back most; None where none brings back enough."""
    target = max([reference, *(attempt.score[1] for _, attempt in tried)])
    good: list[tuple[Suspect, Attempt]] = []
    for suspect, attempt in tried:
        after = attempt.score[1]
        share = GENERAL_GAIN if suspect.general else PARTICULAR_GAIN
        if after - before >= max(MARGIN, SURE * standard_error(before, after, n), share * (target - before)):
            good.append((suspect, attempt))
    if not good:
        return None
    top = max(attempt.score[1] for _, attempt in good)
    near = [pair for pair in good if top - pair[1].score[1] < MARGIN]
    return next((pair for pair in near if not pair[0].general), near[0])


def _measured(finding: Finding, attempt: Attempt, reference: float) -> Finding:
    """Return the finding as proven, with the scores of its trial as evidence."""
    scores: Evidence = {"score_as_set": attempt.score[0], "score_without_it": attempt.score[1]}
    if reference:
        scores["score_of_a_small_network"] = reference
    return replace(finding, evidence={**finding.evidence, **scores}, proven=True)


def _other_weights(case: Case, attempts: Attempts, now: float) -> Finding | None:
    """Return what is known where the same training, rehearsed, does well: in what order the examples came, at best."""
    evidence: Evidence = {"score": now, "score_of_the_same_training_rehearsed": attempts.score}
    skewed = _skewed(case) if case.classifies else None
    if skewed is not None:
        return Finding(
            "examples-in-order", "training", evidence | skewed,
            "the examples came class after class: in random order the same training does well, and the model prefers "
            "the classes that it saw last",
            "train on all examples in one call of fit, which shuffles them, not on one class or file after the other",
            proven=True,
        )  # fmt: skip
    if not attempts.whole:
        return None  # the rest of the training may have done it
    return Finding(
        "weights-of-another-training", "training", evidence,
        "the weights come from another training than the one that the doctor was told of",
        "give the doctor the batch size, the epochs, the augmentation and the data as they were; else look at what "
        "changed the weights afterwards",
    )  # fmt: skip


def _skewed(case: Case) -> Evidence | None:
    """Return the evidence if the model predicts some classes far too often, as after examples in their order.

    None where the history says that the model was good when its training ended.
    """
    try:
        predicted = predictions(case.model, case.sample).classes
    except UnansweredError:
        return None
    y, ended = case.sample.y, case.column("val_accuracy")
    count = int(torch.maximum(predicted.max(), y.max())) + 1
    shares, usual = (found.bincount(minlength=count).double() / len(y) for found in (predicted, y))
    too_often = float((shares - usual).clamp_min(0).sum())  # the total variation distance
    if too_often < SKEWED or (ended and ended[-1] > MIN_ACCURACY):
        return None
    return {
        "commonest_answer": case.class_name(int(shares.argmax())),
        "its_share_of_the_answers": float(shares.max()),
        "its_share_of_the_examples": float(usual[shares.argmax()]),
        "answers_of_classes_beyond_their_share": too_often,
    }
