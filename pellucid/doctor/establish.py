"""Which suspects are causes: those without which the same short training does clearly better."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import torch

from pellucid.doctor.attempt import Attempt, Attempts, judged
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Finding, Number, UnansweredError
from pellucid.doctor.measure.answers import answers
from pellucid.doctor.measure.columns import column
from pellucid.doctor.measure.rehearsal import Settings
from pellucid.doctor.measure.score import spread
from pellucid.doctor.measure.small_network import small_network
from pellucid.doctor.mending import rebuilt
from pellucid.doctor.suspects import Suspect, suspects
from pellucid.errors import PellucidError

# All of these are of the score: the mean recall of the classes, or the share of the variance that is explained.
BEHIND = 0.08  # a training that is so much worse than a small network of the usual kind has a fault
SLIGHTLY, ORDERS = 0.025, 3  # what the remedy of something odd must gain on average, in so many orders of the examples
MARGIN = 0.05  # a remedy that gains less is no remedy
SURE = 3.0  # standard deviations that both must exceed
HALF, MUCH = 0.5, 0.4  # of what is missing that a general remedy must bring back, and a particular one
GOOD = 0.97  # a model of this score has no fault that a trial could find
LEAST = 20  # examples that are measured
SMALL_STEPS, SMALL_SECONDS = 400, 8.0  # of the small network
ALL = 40.0  # seconds of all trials together
SKEWED = 0.25  # of the answers, beyond the shares of their classes
KNEW = 0.5  # accuracy at the end of a training, which forgot nothing then
ORDER, OTHER = "examples-in-order", "weights-of-another-training"


@dataclass(frozen=True, eq=False)
class Cause:
    """A suspect that a trial established, with the trial. mends: whether without it the training lacks nothing more."""

    finding: Finding
    attempt: Attempt
    mends: bool


@dataclass(frozen=True, eq=False)
class Verdict:
    """What came of the trials. failed: whether the training is so bad that there were any.

    as_set: the case with the model that the training leaves when it is rehearsed. untried: suspects for whom there was
    no time. other: what is said where the same training, rehearsed, does well, so that no setting is to blame.
    """

    failed: bool
    causes: tuple[Cause, ...] = ()
    other: Finding | None = None
    as_set: Case | None = None
    untried: tuple[str, ...] = ()
    reference: float = 0.0


def establish(case: Case, more: Sequence[Finding], attempts: Attempts, explained: bool = False) -> Verdict:
    """Try the suspects of a case if its training fails. more: findings whose remedies are suspects too.

    Where little is missing, or a check's proof explained it, what is odd at sight is tried alone.

    A training fails if the model is worse than a small network of the usual kind is after a few hundred steps. Of the
    remedies that bring back what is missing, the best is the cause's; of those as good as the best, a particular one
    before a general one, and the first in their order. If much is still missing without that cause, the others are
    tried once more without it, the particular ones.
    """
    part = case.held or case.sample
    if len(part) < LEAST or not case.trainable:
        return Verdict(False)
    is_trained = case.trained and not case.stopped
    now = judged(case) if is_trained else 0.0
    if now >= GOOD:
        return Verdict(False)
    if explained:
        return _slightly_worse(case, more, 0.0) if is_trained else Verdict(False)
    reference = _reference(case)
    if reference is None or reference - now < max(BEHIND, SURE * spread(now, reference, len(part))):
        return _slightly_worse(case, more, reference or 0.0) if is_trained else Verdict(False)
    begun = time.monotonic()
    if reference - attempts.score < max(BEHIND, SURE * spread(attempts.score, reference, len(part))):
        # As it is set, the training does well: the fault is not in its settings.
        other = _other_weights(case, attempts, now) if is_trained else None
        return Verdict(is_trained, other=other, as_set=attempts.as_set, reference=reference)
    causes: list[Cause] = []
    untried: list[str] = []
    current, remaining = attempts, suspects(case, more)
    for _ in range(2):
        tried = _trials(current, remaining, reference, begun + ALL)
        untried += [one.finding.check for one in remaining[len(tried) :]] if time.monotonic() > begun + ALL else []
        best = _best([pair for pair in tried if pair is not None], current.score, reference, len(part))
        if best is None:
            break
        suspect, attempt = best
        mends = reference - attempt.score[1] < max(BEHIND, SURE * spread(reference, attempt.score[1], len(part)))
        causes.append(Cause(_told(suspect.finding, attempt, reference), attempt, mends))
        if mends:
            break
        remaining = [one for one in remaining if one is not suspect and not one.general]
        current = Attempts(suspect.apply(case))
    return Verdict(True, tuple(causes), None, attempts.as_set, tuple(dict.fromkeys(untried)), reference)


def _slightly_worse(case: Case, more: Sequence[Finding], reference: float) -> Verdict:
    """Try what is odd at sight where little is missing, with several orders of the examples, to rule out chance."""
    causes: list[Cause] = []
    until = time.monotonic() + ALL
    as_set = [Attempts(rebuilt(case, seed=case.model.seed + k)) for k in range(ORDERS)]
    for one in suspects(case, more):
        if not one.odd or time.monotonic() > until:
            continue
        gains: list[float] = []
        attempt: Attempt | None = None
        for tries in as_set:
            try:
                attempt = tries(one.remedy, one.longer)
            except PellucidError:  # the remedy does not fit this network
                break
            gains.append(attempt.score[1] - attempt.score[0])
            if gains[-1] <= 0:
                break
        if attempt is not None and len(gains) == ORDERS and min(gains) > 0 and fmean(gains) >= _clear(gains):
            known = {**_told(one.finding, attempt, reference).evidence, "mean_gain": fmean(gains)}
            causes.append(Cause(replace(one.finding, evidence=known, proven=True), attempt, True))
    causes.sort(key=lambda cause: -float(cause.finding.evidence["mean_gain"]))
    return Verdict(bool(causes), tuple(causes[:1]), None, as_set[0].as_set if causes else None, (), reference)


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
    return None if done.broke else judged(replace(small, model=done.model))


def _trials(
    current: Attempts, remaining: Sequence[Suspect], reference: float, until: float
) -> list[tuple[Suspect, Attempt] | None]:  # fmt: skip
    """Try one suspect after the other, until the time is over or a particular one is enough; None where none fits."""
    tried: list[tuple[Suspect, Attempt] | None] = []
    for one in remaining:
        if time.monotonic() > until or any(
            pair is not None and not pair[0].general and reference - pair[1].score[1] < MARGIN for pair in tried
        ):
            break
        try:
            tried.append((one, current(one.remedy, one.longer)))
        except PellucidError:  # the remedy does not fit this network
            tried.append(None)
    return tried


def _best(
    tried: Sequence[tuple[Suspect, Attempt]], before: float, reference: float, n: int
) -> tuple[Suspect, Attempt] | None:  # fmt: skip
    """Return the suspect whose remedy brings back most; None where none brings back enough."""
    target = max([reference, *(attempt.score[1] for _, attempt in tried)])
    good: list[tuple[Suspect, Attempt]] = []
    for suspect, attempt in tried:
        after = attempt.score[1]
        gain = after - before
        if gain >= max(MARGIN, SURE * spread(before, after, n)) and gain >= (HALF if suspect.general else MUCH) * (
            target - before
        ):
            good.append((suspect, attempt))
    if not good:
        return None
    top = max(attempt.score[1] for _, attempt in good)
    near = [pair for pair in good if top - pair[1].score[1] < MARGIN]
    return next((pair for pair in near if not pair[0].general), near[0])


def _told(finding: Finding, attempt: Attempt, reference: float) -> Finding:
    evidence: dict[str, Number] = {
        **finding.evidence,
        "score_as_set": attempt.score[0],
        "score_without_it": attempt.score[1],
    }
    if reference:
        evidence["score_of_a_small_network"] = reference
    return replace(finding, evidence=evidence, proven=True)


def _other_weights(case: Case, attempts: Attempts, now: float) -> Finding | None:
    """Return what is known where the same training, rehearsed, does well: in what order the examples came, at best."""
    evidence: dict[str, Number] = {"score": now, "score_of_the_same_training_rehearsed": attempts.score}
    skewed = _skewed(case) if case.classifies else None
    if skewed is not None:
        return Finding(
            ORDER, "training", evidence | skewed,
            "the examples came class after class: in random order the same training does well, and the model prefers "
            "the classes that it saw last",
            "train on all examples in one call of fit, which shuffles them, not on one class or file after the other",
            proven=True,
        )  # fmt: skip
    if not attempts.whole:
        return None  # the rest of the training may have done it
    return Finding(
        OTHER, "training", evidence, "the weights come from another training than the one that the doctor was told of",
        "give the doctor the batch size, the epochs, the augmentation and the data as they were; else look at what "
        "changed the weights afterwards",
    )  # fmt: skip


def _skewed(case: Case) -> dict[str, Number] | None:
    """Return the evidence if the model answers some classes far too often, as after examples in their order.

    None where the history says that the model was good when its training ended.
    """
    try:
        told = answers(case.model, case.sample).classes
    except UnansweredError:
        return None
    y, ended = case.sample.y, column(case.history, "val_accuracy")
    count = int(torch.maximum(told.max(), y.max())) + 1
    shares, usual = (found.bincount(minlength=count).double() / len(y) for found in (told, y))
    too_often = float((shares - usual).clamp_min(0).sum())  # the total variation distance
    if too_often < SKEWED or (ended and ended[-1] > KNEW):
        return None
    return {
        "commonest_answer": case.class_name(int(shares.argmax())),
        "its_share_of_the_answers": float(shares.max()),
        "its_share_of_the_examples": float(usual[shares.argmax()]),
        "answers_of_classes_beyond_their_share": too_often,
    }
