"""How training targets are wrong, judged by the outputs of a model for the training examples, or by their values."""

from dataclasses import replace
from functools import cached_property
from statistics import fmean
from typing import Any

from torch import Tensor

from pellucid.data.changed_source import with_new_targets, with_targets
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case, has_flat_targets
from pellucid.doctor.evaluations import MIN_GAP, Evaluations, changed_targets
from pellucid.doctor.finding import MIN_GAIN, Suspect, suspect
from pellucid.doctor.held_out import MAX_SCORED_IN_MEMORY, HeldOutScorer, outputs_for, predicted_target
from pellucid.doctor.inputs import select, subsample
from pellucid.doctor.intervention import MeasuredEffect
from pellucid.doctor.paired import MIN_HELD_OUT, ProvenCause
from pellucid.doctor.suspects.box_forms import find_other_forms
from pellucid.doctor.suspects.targets import are_filled, filled_targets, found_spots, spot_suspect
from pellucid.doctor.training_case import TrainingCase, validation_of
from pellucid.task import HeldOutScores, TargetChange
from pellucid.training.examples import subset
from pellucid.training.model import BaseModel
from pellucid.training.reading import drawn_indices, read_examples

MIN_REVERSED_GAP = 0.02  # score on validation data minus score on training data, from which the present model judges
MIN_JUDGE_SCORE = 0.5  # on validation data, of a model whose outputs show a fault without a training
# The score of the model on training data divided by its score on validation data, both minus the score by chance. Up to
# this ratio, the training targets are unrelated to their images.
MAX_UNPAIRED_SCORE = 0.12
# A training example is predicted badly if its score is lower than that of all but USUAL_FRACTION of the held-out
# validation examples. A part of the examples is wrong if many of them are.
USUAL_FRACTION, MIN_FRACTION = 0.15, 0.3
MIN_CHANGED = 0.1  # fraction of the examples that a change must fit better
MIN_FIT = 0.1  # of an example's score, from which a change fits better
MAX_LISTED = 8  # examples in a sentence
MAX_FOUND = 0.8  # fraction of the spots of heat maps that a model finds, above which they are learned


def judge_training_targets(evaluations: Evaluations) -> ProvenCause | None:
    """Find targets that are wrong in a part of the training examples by the present model, if it predicts them badly.

    Only if it predicts validation examples better than those it was trained on. A change that fits the badly predicted
    examples, but whose gain is not certain, is added to `likely`.
    """
    case = evaluations.case
    if isinstance(case, Case) and case.hides_labels:
        return None  # what is predicted badly may be changed badly
    if not (evaluations.is_scored and evaluations.has_targets) or evaluations.score_gap > 0:
        return None
    judged = _judged_by_present_model(evaluations)
    if float(judged.validation_scores.values.nanmean() - judged.scores.values.nanmean()) < MIN_REVERSED_GAP:
        return None
    proven_cause = judged.some_changed()
    if proven_cause is None and judged.unproven_suspect is not None:
        evaluations.likely.append((replace(judged.unproven_suspect.finding, remedy=None, is_fault=True), None))
    return proven_cause


def _judged_by_present_model(evaluations: Evaluations) -> "JudgedExamples":
    case, steps = evaluations.case, evaluations.trainings.max_steps
    indices = drawn_indices(len(case.train), evaluations.score.count(case.train), case.model.seed)
    base = case if len(indices) == len(case.train) else replace(case, train=subset(case.train, indices, False))
    base_scores = evaluations.base_scores.setdefault(steps, {}) if base is case else {}
    return JudgedExamples(evaluations, base, indices, base_scores, case.model, MIN_GAIN, steps)


def train_with_other_values(evaluations: Evaluations) -> ProvenCause | None:
    """Train with other values of the targets where these show a fault: filled values, forms of boxes, tiny spots."""
    return (
        train_without_filled_targets(evaluations)
        or train_with_boxes_in_one_form(evaluations)
        or train_with_wider_spots(evaluations)
    )


def train_without_filled_targets(evaluations: Evaluations) -> ProvenCause | None:
    """Train without the targets that a value fills where they are missing, scored on examples without that value."""
    case, trainings = evaluations.case, evaluations.trainings
    if not isinstance(case, Case) or case.validation is None or not has_flat_targets(case):
        return None
    found = filled_targets(case.train, case.validation, case.model.seed)
    if found is None:
        return None
    change, values = found
    base, is_complete = case, ~are_filled(case.validation.y, values).any(1)
    if MIN_HELD_OUT <= int(is_complete.sum()) < len(is_complete):
        base = replace(case, validation=select(case.validation, is_complete))
    base_scores = evaluations.base_scores.setdefault(trainings.max_steps, {}) if base is case else {}
    return trainings.measure(base, change, base_scores, trainings.max_steps)


def train_with_boxes_in_one_form(evaluations: Evaluations) -> ProvenCause | None:
    """Train with those boxes converted that are written in another form than the validation data's."""
    case = evaluations.case
    if not (isinstance(case, Case) and evaluations.is_scored) or case.model.output_shape != (4,):
        return None
    judged, validation = _judged_by_present_model(evaluations), validation_of(case)
    train = judged.base.train
    if not (isinstance(train, Arrays) and isinstance(validation, Arrays) and train.y.is_floating_point()):
        return None
    if not train.y.shape[1:] == validation.y.shape[1:] == (4,):
        return None
    outputs = [case.model.predict(data.x) for data in (train, validation)]
    conversions = find_other_forms(train, validation, outputs)
    if not conversions:
        return None
    one, parts = conversions["train"], {"train": train, "validation": validation}
    converted = {name: replace(parts[name], y=found.convert(parts[name].y)) for name, found in conversions.items()}
    positions, others = one.is_other.nonzero().flatten(), "those of the validation data"
    if "validation" in conversions:
        others = "the others"
    change = suspect(
        "box-format", f"the boxes of {judged._share(positions)} are written as {one.form}, and {others} as "
        f"{one.usual_form}",
        f"write all boxes as {one.usual_form}: convert those that are {one.form}; look at {judged._listed(positions)}",
        "boxes converted to one form", lambda case: replace(case, **converted), path="train",
        key=f"boxes/{one.form}/{one.usual_form}", is_likely=True,
    )  # fmt: skip
    return judged._measure(change)


def train_with_wider_spots(evaluations: Evaluations) -> ProvenCause | None:
    """Train on heat maps with wider spots, if theirs are tiny and the highest outputs often miss them."""
    case, trainings = evaluations.case, evaluations.trainings
    if not (isinstance(case, Case) and evaluations.is_scored) or (change := spot_suspect(case)) is None:
        return None
    score = HeldOutScorer(evaluations.task, case, "share of the spots that the highest outputs find", _found_spots)
    found = score(case.model, validation_of(case))
    if float(found.mean()) > MAX_FOUND:
        return None
    base_scores = {0: found} if trainings.model_steps == trainings.max_steps else {}
    return trainings.scored_by(score).measure(case, change, base_scores, trainings.max_steps)


def _found_spots(model: BaseModel, data: Arrays) -> Tensor:
    """Return the fraction of its spots that the highest outputs find, for each example that has some (n,)."""
    examples = subsample(data, MAX_SCORED_IN_MEMORY, model.seed)
    return found_spots(model.predict(examples.x), examples.y)


class JudgedExamples:
    """Training examples, judged by a model.

    base, base_scores: the case whose training examples are judged, and the scores of its trainings by pair. indices:
    of these examples in the user's training data, (n,). min_gain: of the score, by other targets. steps: of trainings,
    0 for short ones. unproven_suspect: the change that fits a part of the examples best, if its gain is not certain.
    """

    def __init__(
        self, evaluations: Evaluations, base: TrainingCase, indices: Tensor, base_scores: dict[int, Tensor],
        model: BaseModel, min_gain: float, steps: int = 0,
    ) -> None:  # fmt: skip
        self.evaluations, self.base, self.base_scores, self.model = evaluations, base, base_scores, model
        self.indices, self.min_gain, self.steps = indices, min_gain, steps
        self.unproven_suspect: Suspect | None = None

    def shown_by_outputs(self, split_cause: ProvenCause, is_refutable: bool) -> ProvenCause | None:
        """Return the first fault of the targets that needs only the outputs of a good model.

        split_cause: that the model's training on validation data proved. is_refutable: whether a training with changed
        targets that has no effect refutes the fault.
        """
        trainings = self.evaluations.trainings
        for target_change in self.evaluations.other_targets(self.evaluations.case.train, self.model):
            if not target_change.unproven:
                continue
            change = changed_targets("train", target_change, self.min_gain)
            n_effects, proven_cause = len(trainings.effects), None
            if target_change.apply is not None:
                proven_cause = self._measure(change)
            is_refuted = is_refutable and any(effect.verdict == "no effect" for effect in trainings.effects[n_effects:])
            if proven_cause is not None or (fmean(split_cause.effect.after) >= MIN_JUDGE_SCORE and not is_refuted):
                return proven_cause or split_cause.with_names_of(change)
        return None

    @property
    def are_paired(self) -> bool:
        """Whether the model predicts the training targets clearly better than the targets of other training images."""
        by_chance = float(self.evaluations.score(self.model, self.base.train, True).mean())
        max_unpaired = MAX_UNPAIRED_SCORE * (float(self.validation_scores.weighted.mean()) - by_chance)
        return float(self.scores.weighted.mean()) - by_chance > max_unpaired

    @property
    def are_as_usual(self) -> bool:
        """Whether the model predicts the training targets nearly as well as those of validation examples."""
        return float(self.validation_scores.weighted.mean() - self.scores.weighted.mean()) < MIN_GAP

    @cached_property
    def scores(self) -> HeldOutScores:
        """The scores of the examples."""
        return self.evaluations.score.scored(self.model, self.base.train)

    @cached_property
    def validation_scores(self) -> HeldOutScores:
        """The scores of validation examples."""
        return self.evaluations.score.scored(self.model, validation_of(self.base))

    @cached_property
    def badly_predicted(self) -> Tensor:
        """The places of the examples that are predicted badly; none if there are few, or too many to be judged.

        Examples in which there is nothing to score are none of them.
        """
        is_bad = self.scores.values.double() < self.validation_scores.values.double().nanquantile(USUAL_FRACTION)
        are_many = len(is_bad) == len(self.indices) and float(is_bad.double().mean()) >= MIN_FRACTION
        return (is_bad & are_many).nonzero().flatten()

    def some_changed(self) -> ProvenCause | None:
        """Train with each change of targets that the badly predicted examples suggest, in the examples that it fits."""
        if not len(self.badly_predicted):
            return None
        changes_by_gain: list[tuple[float, Tensor, TargetChange]] = []
        for change in self.evaluations.other_targets(subset(self.base.train, self.badly_predicted, False), self.model):
            if change.apply is not None and not change.unproven:
                changed = with_targets(self.base.train, change.apply, frozenset(self.badly_predicted.tolist()))
                changed_scores = self.evaluations.score.scored(self.model, changed)
                gains = (changed_scores.values - self.scores.values)[self.badly_predicted].double().nan_to_num()
                changes_by_gain.append(
                    (float(gains.clamp_min(0).sum()), self.badly_predicted[gains >= MIN_FIT], change)
                )
        for _, positions, change in sorted(changes_by_gain, key=lambda one: -one[0]):
            if change.apply is None or len(positions) < MIN_CHANGED * len(self.indices):
                continue
            some_changed = self._suspect(
                change.name, f"the targets of {self._share(positions)} {change.cause}",
                f"{change.fix}; look at {self._listed(positions)}", f"{change.description} in {self._share(positions)}",
                f"some-targets/{change.identity}/{len(positions) / len(self.indices):.2f}",
                with_targets(self.base.train, change.apply, frozenset(positions.tolist())), self.min_gain,
            )  # fmt: skip
            if (proven_cause := self._measure(some_changed)) is not None:
                return proven_cause
            is_unclear = any(one.suspect is some_changed for one in self.evaluations.trainings.unclear)
            self.unproven_suspect = self.unproven_suspect or (some_changed if is_unclear else None)
        return None

    def with_predicted_targets(self, text: str, min_gain: float) -> tuple[ProvenCause | None, MeasuredEffect | None]:
        """Train on the targets that the model predicts for the examples, instead of their own.

        Returns the cause that this proves, and the measured effect, None if there is none. text: the differences of the
        targets of both data sets.
        """
        trainings, examples = self.evaluations.trainings, read_examples(self.base.train, len(self.base.train), 0)
        outputs = outputs_for(self.model, examples)
        targets = [predicted_target(one, example.targets[0]) for one, example in zip(outputs, examples, strict=True)]
        if any(target is None for target in targets):
            return None, None
        change = self._suspect(
            "wrong-targets", "the training targets are not those that belong to their inputs: with targets that a "
            f"model predicts which was trained on validation data, the network learns more{text}",
            "look at some training targets beside their inputs: how they were made, converted, resized or rounded",
            "training with targets predicted by a model that was trained on validation data", "predicted-targets",
            with_new_targets(self.base.train, targets), min_gain,
        )  # fmt: skip
        proven_cause = self._measure(change)
        return proven_cause, next((one for one in trainings.effects if one.key == change.remedy.key), None)

    def _suspect(
        self, name: str, cause: str, fix: str, description: str, key: str, train: Any, min_gain: float
    ) -> Suspect:  # fmt: skip
        return suspect(
            name, cause, fix, description, lambda case: replace(case, train=train), path="train",
            min_gain=max(min_gain, MIN_GAIN), key=key, is_likely=True,
        )  # fmt: skip

    def _measure(self, change: Suspect) -> ProvenCause | None:
        return self.evaluations.trainings.measure(self.base, change, self.base_scores, self.steps)

    def _share(self, positions: Tensor) -> str:
        return f"{len(positions) / len(self.indices):.0%} of the training examples"

    def _listed(self, positions: Tensor) -> str:
        """Return the first examples at these places as text, by their indices in the user's training data."""
        if self.evaluations.case.train is not self.evaluations.trainings.first_case.train:
            return "them"  # the indices are those of data without the examples of another cause
        indices = self.indices[positions].sort().values.tolist()
        return f"the training examples {', '.join(map(str, indices[:MAX_LISTED]))} (counted from 0)"
