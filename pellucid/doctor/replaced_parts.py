"""Parts of a training, replaced one at a time by plain defaults in pairs of trainings."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from math import sqrt
from statistics import fmean

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.doctor.case import Case, has_flat_targets
from pellucid.doctor.checks import nan_origin, preprocessing_mismatch, shuffled_labels, unpaired_targets
from pellucid.doctor.evaluations import GOOD_SCORE, MIN_GAP, MIN_HALF_EXAMPLES, Evaluations
from pellucid.doctor.finding import BOTH_PARTS, MIN_GAIN, Evidence, Finding, Remedy, Suspect
from pellucid.doctor.held_out import HeldOutScorer
from pellucid.doctor.intervention import effect_of
from pellucid.doctor.paired import MIN_HELD_OUT, PairedTrainings, ProvenCause
from pellucid.doctor.rehearsal import RehearsalSettings
from pellucid.doctor.remedies import small_network, with_trained, with_values
from pellucid.doctor.suspects import suspects
from pellucid.doctor.suspects.layers import POOLED_POSITIONS
from pellucid.doctor.suspects.targets import UNNORMALISED_TARGETS
from pellucid.doctor.training_case import T, TrainingCase, optional_fields
from pellucid.training.examples import split

HELD_OUT_FRACTION = 0.25  # fraction of the training data that is held out if there are no validation data
# Minimum gains of the score by replacing a part: one that many trainings gain from, an unusual one, and others.
MIN_GENERAL_GAIN, MIN_UNUSUAL_GAIN, MIN_PART_GAIN = 0.15, 0.04, 0.07
SUFFICIENT_SCORE = 0.5  # without a cause; below it, another part may be a larger cause
MIN_DEFICIT = 0.08  # a training fails if its score is lower by this than that of a small network
MIN_DEVIATIONS = 3.0  # standard errors by which the deficit must exceed 0
MIN_REFERENCE_SCORE = 0.8  # of the small network, above which the data are hardly at fault
MIN_GENERAL_FRACTION, MIN_FRACTION = 0.5, 0.4  # of the deficit, which a general part and others must recover
# The small network has as many steps as the training, within these limits.
MIN_SMALL_STEPS, MAX_SMALL_STEPS, MAX_SMALL_WORK = 150, 400, 3.2e11
# Faults of the validation data, and the last also of the training data, that keep trainings from showing other causes.
UNSOUND_DATA = (preprocessing_mismatch.NAME, shuffled_labels.NAME)

UNCHANGED = Remedy("the same training on shuffled examples", lambda case: case, "unchanged")

RATE_TOO_HIGH = "learning-rate-too-high"  # the name of the suspects
MAX_CHANGES = 0.5  # changes of the class from example to example, relative to those in random order; fewer are sorted
MIN_SKEW = 0.25  # total variation distance between the classes of the predictions and of the labels
MIN_ACCURACY = 0.5  # on validation data in the last epoch; above it, the order of the examples is not the cause


class ReplacedParts:
    """Trainings of at most the case's number of steps, each with one part replaced by a plain default.

    base: the case without data at fault; None if there is none. present_scores: the scores of the present model on its
    validation data. base_scores: those of trainings of the base, by number of steps and pair. reference_score: of a
    small network on the same data; 1 if it is not measured. is_unstable: whether the same training once more has a
    clearly better score. Both are set when `candidates` are collected.
    """

    def __init__(self, evaluations: Evaluations) -> None:
        self.evaluations, self.trainings, self.reference_score = evaluations, evaluations.trainings, 1.0
        self.base, self.is_unstable = sound_case(evaluations), False
        is_same = self.base is evaluations.case
        self.present_scores = evaluations.validation_scores if is_same and evaluations.is_scored else None
        self.base_scores = evaluations.base_scores if is_same else dict[int, dict[int, Tensor]]()
        for steps in (self.trainings.steps, self.trainings.max_steps):
            self.base_scores.setdefault(steps, {})
        if self.present_scores is not None and self.trainings.model_steps in self.base_scores:
            self.base_scores[self.trainings.model_steps][0] = self.present_scores

    def train(self, is_selected: Callable[[Suspect], bool]) -> ProvenCause | None:
        """Replace one of the selected parts at a time.

        If the score without the first cause is still below SUFFICIENT_SCORE, general parts, such as learning rates, and
        unusual ones are tried as well, and the cause with the highest score is returned.
        """
        first_cause: ProvenCause | None = None
        for candidate in self.candidates:
            if not (is_selected(candidate) if first_cause is None else candidate.general or candidate.unusual):
                continue
            if (cause := self._train_with(candidate)) is None:
                continue
            if cause.finding.check == UNNORMALISED_TARGETS:  # these help a network that has lost the positions, too
                rivals = [self._train_with(one) for one in self.candidates if one.finding.check == POOLED_POSITIONS]
                cause = max(filter(None, (cause, *rivals)), key=lambda one: fmean(one.effect.after))
            if first_cause is not None or fmean(cause.effect.after) >= SUFFICIENT_SCORE:
                return max(filter(None, (first_cause, cause)), key=lambda one: fmean(one.effect.after))
            first_cause = cause
        return first_cause

    @cached_property
    def candidates(self) -> Sequence[Suspect]:
        """The parts to replace: those of measured faults with remedies, then particular ones, then general ones.

        For classes and vectors, all parts are replaced only if the training fails: if its score is clearly below that
        of a small network on the same data, and no measured fault explains it. Otherwise, only unusual parts are.
        General ones need a known number of steps: a training of any other length may gain from them.
        """
        evaluations, base = self.evaluations, self.base
        if base is None:
            return ()
        findings = [one for one in evaluations.findings if can_be_tried(one, base, self.trainings)]
        faults = [finding for finding in findings if finding.is_fault]
        if not has_flat_targets(base):
            return [
                _as_unusual(one) if one.unusual
                else replace(one, min_gain=max(one.min_gain, MIN_GENERAL_GAIN if one.general else MIN_PART_GAIN))
                for one in suspects(base, findings)
            ]  # fmt: skip
        score = 0.0 if self.present_scores is None else float(self.present_scores.mean())
        if score >= GOOD_SCORE or any(fault.check == nan_origin.NAME for fault in faults):
            return ()
        possible_causes = [
            candidate for candidate in suspects(base, findings) if base.steps_planned or not candidate.general
        ]
        unusual = [_as_unusual(candidate) for candidate in possible_causes if candidate.unusual]
        if evaluations.is_explained and base is evaluations.case:
            return [*(candidate for candidate in possible_causes if candidate.finding in faults), *unusual]
        may_fail = score <= 1 - MIN_DEFICIT  # otherwise, not even a perfect score would be clearly higher
        n_likely = len(evaluations.likely)
        if may_fail and (deficit := self._deficit(base)):
            fractions = [MIN_GENERAL_FRACTION if candidate.general else MIN_FRACTION for candidate in possible_causes]
            replacements = [
                replace(candidate, min_gain=max(MIN_GAIN, fraction * deficit), is_likely=True)
                for candidate, fraction in zip(possible_causes, fractions, strict=True)
            ]
            if not self.is_unstable:
                return replacements
            # smaller steps alone keep a training from failing in some orders of the examples
            unusual += [one for one in replacements if one.general and one.finding.check == RATE_TOO_HIGH]
        # if the same training once more is better, it would be so with any part replaced
        is_repeated_better = len(evaluations.likely) > n_likely
        is_complete = evaluations.case.trained and not optional_fields(evaluations.case).stopped
        return unusual if is_complete and not is_repeated_better else ()

    def _train_with(self, candidate: Suspect) -> ProvenCause | None:
        """Train with one part replaced, and return the cause that this proves.

        More trainings without the part are made only if the first one has a clearly higher score than the present model
        or, if that has fewer steps, than a training with the part. Learning rates are tried in short trainings, since
        another rate improves many trainings a little.
        """
        evaluations, trainings, base, remedy = self.evaluations, self.trainings, self.base, candidate.remedy
        assert base is not None  # without it, there are no parts
        steps = trainings.steps if candidate.general and not candidate.unusual else trainings.max_steps
        if trainings.proves_nothing(base, remedy, steps):
            return None
        base_scores = self.base_scores[steps]
        present_scores = None if trainings.model_steps < steps else self.present_scores
        missing_trainings = [(base, steps)] if present_scores is None and 0 not in base_scores else []
        try:
            changed_case = candidate.apply(base)
            if not trainings.spend(remedy, *missing_trainings, (changed_case, steps)):
                return None
            if missing_trainings:
                base_scores[0] = trainings.train(base, 0, steps).scores
            trained = trainings.train(changed_case, 0, steps)
        except PellucidError as error:  # the change does not fit the networks
            evaluations.untried[remedy.key] = str(error)
            return None
        first_scores = base_scores[0] if present_scores is None else present_scores
        first_effect = effect_of(candidate, evaluations.score.name, [(first_scores, trained.scores)], 0)
        is_promising = (
            first_effect.gains[0] >= candidate.min_gain if candidate.unusual else first_effect.verdict == "cause"
        )
        if not is_promising:
            trainings.record(replace(first_effect, steps=steps))
            return None
        if candidate.general and 0 not in base_scores and trainings.spend(remedy, (base, steps)):
            base_scores[0] = trainings.train(base, 0, steps).scores
        if candidate.general and 0 in base_scores:  # in few steps, the training may fail less than in all
            missing_score = self.reference_score - float(base_scores[0].mean())
            candidate = replace(
                candidate, min_gain=min(candidate.min_gain, max(MIN_GAIN, MIN_GENERAL_FRACTION * missing_score))
            )
        cause = trainings.measure(base, candidate, base_scores, steps, trained)
        if cause is None and present_scores is not None and trainings.model_steps > steps and base_scores:
            becomes_worse = (
                effect_of(candidate, evaluations.score.name, [(present_scores, base_scores[0])], 0).verdict == "cause"
            )
            if becomes_worse:  # after these steps, which only trainings of all steps show
                all_scores = evaluations.base_scores.setdefault(trainings.model_steps, {0: present_scores})
                cause = trainings.measure(base, candidate, all_scores, trainings.model_steps)
        if cause is None or base is evaluations.case:
            return cause
        with_data_at_fault = with_trained(candidate.apply(evaluations.case), cause.mended_case.model)
        return cause._replace(mended_case=with_data_at_fault)

    def _deficit(self, base: Case) -> float:
        """Return how much lower the score is than that of a small network, if that is clear; 0 if it is not.

        The score is the higher one of the present model and of the training made once more. If the latter does well, or
        better in random order, a finding for that is added to `likely`, or else the training is unstable.
        """
        trainings, present_scores = self.trainings, self.present_scores
        reference = _reference_scores(base, self.evaluations.score)
        if reference is None or (present_scores is not None and not _clear_deficit(present_scores, reference)):
            return 0.0
        self.reference_score = float(reference.mean())
        steps = trainings.max_steps
        if trainings.proves_nothing(base, UNCHANGED, steps) or not trainings.spend(UNCHANGED, (base, steps)):
            return 0.0
        repeated_training = trainings.train(base, 0, steps)
        self.base_scores[steps][0] = repeated_training.scores
        deficit = _clear_deficit(
            repeated_training.scores, reference, MIN_DEFICIT if present_scores is None else MIN_DEFICIT / 2
        )
        is_repetition = base is trainings.first_case and trainings.model_steps >= steps
        if present_scores is None or not is_repetition:
            return deficit if present_scores is None else min(deficit, _clear_deficit(present_scores, reference))
        if not deficit or _clear_deficit(present_scores, repeated_training.scores):
            score, steps_made, finding = float(present_scores.mean()), base.steps_made, None
            has_short_epochs = not deficit and epoch_steps(base) < base.steps_per_epoch
            if has_short_epochs and trainings.spend(UNCHANGED, (base, steps_made)):
                short_training = trainings.train(base, 0, steps_made)
                if not _clear_deficit(short_training.scores, reference, MIN_DEFICIT / 2):
                    finding = finding_of_short_epochs(base, score, float(short_training.scores.mean()))
                    repeated_training = short_training
            if finding is None and (not deficit or comes_by_class(base)):
                finding = finding_of_other_weights(base, score, float(repeated_training.scores.mean()))
            if finding is not None:
                repeated = Suspect(replace(finding, remedy=UNCHANGED))
                trainings.record(
                    effect_of(repeated, trainings.score.name, [(present_scores, repeated_training.scores)], steps)
                )
                self.evaluations.likely.append((finding, with_trained(base, repeated_training.model)))
                return 0.0  # other causes show only without this one
            self.is_unstable = True
            return _clear_deficit(present_scores, reference)
        return min(deficit, _clear_deficit(present_scores, reference))


def sound_case(evaluations: Evaluations) -> TrainingCase | None:
    """Return the case without data at fault and with validation data, so that trainings show other causes.

    If the validation data are at fault or missing, it has a part of the training data instead. If labels do not belong
    to their inputs in the training data, it is trained on one half of the validation data and scored on the other, if
    both are large enough. None for maps that do not belong to their images, and for a task with its own scores, unless
    there are validation data and a model that was trained, or whose training stopped with an error.
    """
    case = evaluations.case
    if not has_flat_targets(case):
        has_scores = evaluations.is_scored or (case.validation is not None and optional_fields(case).stopped)
        are_paired = all(finding.check != unpaired_targets.NAME for finding in evaluations.findings)
        return case if has_scores and are_paired else None
    faults = {
        (one.check, "validation" if one.path == BOTH_PARTS else one.path)
        for one in evaluations.findings
        if one.is_fault
    }
    if case.plain is not None and case.changes_much and evaluations.score_gap < MIN_GAP:
        faults.discard((preprocessing_mismatch.NAME, "validation"))  # by random changes, which it has not learned
    if case.validation is None or any((name, "validation") in faults for name in UNSOUND_DATA):
        return with_held_out_part(case)
    if (shuffled_labels.NAME, "train") in faults and len(case.validation) >= 2 * MIN_HALF_EXAMPLES:
        train, validation = evaluations.halves
        return with_values(case, {"train": train, "validation": validation, "plain": None})
    return case


def with_held_out_part(case: T) -> T | None:
    """Return the case with a part of its training data as validation data; None if it has too few."""
    if len(case.train) * HELD_OUT_FRACTION < MIN_HELD_OUT:
        return None
    train, validation = split(case.train, HELD_OUT_FRACTION, case.model.seed)
    return with_values(case, {"train": train, "validation": validation, "plain": None})


def can_be_tried(finding: Finding, base: TrainingCase, trainings: PairedTrainings) -> bool:
    """Return whether the remedy of a finding fits a case: faults of other data may have indices of their examples."""
    first = trainings.first_case
    has_same_data = base.train is first.train and base.validation is first.validation
    return has_same_data or not finding.is_fault or finding.path not in ("train", "validation", BOTH_PARTS)


def _as_unusual(candidate: Suspect) -> Suspect:
    """Return an unusual part with its minimum gain, which is its own if that is not the default."""
    return replace(
        candidate, min_gain=MIN_UNUSUAL_GAIN if candidate.min_gain == MIN_GAIN else candidate.min_gain, is_likely=True
    )


def _clear_deficit(scores: Tensor, reference: Tensor, minimum: float = MIN_DEFICIT) -> float:
    """Return how much lower the mean score of examples (n,) is than that of a reference; 0 if that may be chance."""
    deficits = (reference - scores).double()
    mean, standard_error = float(deficits.mean()), float(deficits.std(correction=0)) / sqrt(len(deficits))
    return mean if mean >= max(minimum, MIN_DEVIATIONS * standard_error) else 0.0


def _reference_scores(case: Case, score: HeldOutScorer) -> Tensor | None:
    """Return the scores of the small network; None if its training raises an error or diverges."""
    if score.uses_loss:
        return None  # the small network has another loss
    try:
        reference_case = small_network(case)
        steps = min(max(case.steps_to_repeat or MAX_SMALL_STEPS, MIN_SMALL_STEPS), MAX_SMALL_STEPS)
        rehearsal = reference_case.rehearse(RehearsalSettings(steps, work=MAX_SMALL_WORK, compressed=True))
    except PellucidError:
        return None
    held_out = reference_case.validation
    return None if rehearsal.has_failed or held_out is None else score(rehearsal.model, held_out)


def finding_of_other_weights(case: Case, score: float, rehearsed_score: float) -> Finding | None:
    """Return the finding for a training whose score is lower than when it is made once more, if predictions are skewed.

    The cause is then the order of the examples. score, rehearsed_score: of the present model, and of the model that was
    trained once more.
    """
    skew_evidence = _skew_evidence(case) if case.classifies else None
    if skew_evidence is None:
        return None
    return Finding(
        "examples-in-order", "training",
        {"score": score, "score_of_the_same_training_rehearsed": rehearsed_score, **skew_evidence},
        "in random order the same training does well, and the model prefers some classes, as it does if examples "
        "come class after class",
        "shuffle the training examples (shuffle=True in a DataLoader), and train on all of them in one call of fit",
        is_fault=True,
    )  # fmt: skip


def comes_by_class(case: Case) -> bool:
    """Return whether the classes of the training examples change far less often than in random order."""
    y = case.train.y
    if not case.classifies:
        return False
    n_changes, shares = float((y[1:] != y[:-1]).sum()), y.unique(return_counts=True)[1].double() / len(y)
    return n_changes <= MAX_CHANGES * (len(y) - 1) * float(1 - shares.square().sum())


def epoch_steps(case: Case) -> float:
    """Return the mean number of steps of the epochs in the history; that of all batches without a history."""
    return case.steps_per_epoch if case.history is None else case.steps_made / max(len(case.history), 1)


def finding_of_short_epochs(case: Case, score: float, rehearsed_score: float) -> Finding:
    """Return the finding for a training with fewer steps in an epoch than the data have batches.

    score: of the present model. rehearsed_score: of a training with as many steps on batches of all examples.
    """

    return Finding(
        "short-epochs", "training",
        {"score": score, "score_with_batches_of_all_examples": rehearsed_score, "steps": case.steps_made},
        f"an epoch has {epoch_steps(case):g} of {case.steps_per_epoch} batches, and with batches of all examples as "
        "many steps do well, so the training saw only some of the examples, as it does if each epoch begins with the "
        "same batches",
        "go through all examples in an epoch, or let an epoch go on where the last one ended", is_fault=True,
    )  # fmt: skip


def _skew_evidence(case: Case) -> Evidence | None:
    """Return the evidence if the model predicts some classes far too often, as after training on sorted examples.

    None if it does not, or if the history has a validation accuracy above MIN_ACCURACY in the last epoch.
    """
    predictions, val_accuracies = case.class_predictions, case.column("val_accuracy")
    if predictions is None:
        return None
    predicted, y = predictions[0].classes, predictions[0].examples.y
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
