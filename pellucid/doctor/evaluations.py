"""Evaluations of the present model, and what all experiments on a case share: its scores, halves and changed data."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from pellucid.data import Arrays, Source, float_images
from pellucid.data.changed_source import with_images, with_targets
from pellucid.data.seeds import generator
from pellucid.doctor.case import Case, Predictions, predictions
from pellucid.doctor.checks import (
    class_imbalance,
    confused_labels,
    leakage,
    preprocessing_mismatch,
    shifted_labels,
    shuffled_labels,
    unpaired_targets,
)
from pellucid.doctor.differences import differences, lacked_text
from pellucid.doctor.finding import BOTH_PARTS, MIN_GAIN, Finding, Remedy, Suspect, suspect
from pellucid.doctor.held_out import HeldOutScorer, outputs_for
from pellucid.doctor.inputs import REVERSED_CHANNELS, REVERSED_TEXT, InputChange, input_changes
from pellucid.doctor.intervention import effect_of
from pellucid.doctor.paired import PairedTrainings, ProvenCause
from pellucid.doctor.remedies import rebuilt
from pellucid.doctor.suspects.class_weights import weighing
from pellucid.doctor.training_case import T, TrainingCase, optional_fields, validation_of
from pellucid.losses import BinaryCrossEntropy
from pellucid.task import TargetChange
from pellucid.training.examples import subset
from pellucid.training.model import BaseModel
from pellucid.training.reading import drawn_indices, read_examples

GOOD_SCORE = 0.97  # from this score on, no parts are replaced
MIN_GAP = 0.1  # score on training data minus score on validation data; from this gap on, the data are compared
# Other validation inputs do no harm if this gap is below the first, and the score on validation data above the second.
MIN_HARMFUL_GAP, MIN_LEARNED_SCORE = 0.05, 0.5
# Fractions of a difference of two scores that a change of the data must explain: as the cause, and if nothing else is.
MIN_EXPLAINED, MIN_PARTLY_EXPLAINED = 2 / 3, 0.5
MIN_HALF_EXAMPLES = 20  # in each half of the validation data; one half is only scored, see `Evaluations.halves`
MAX_RENUMBERED = 2  # classes that training lacks, of which other numbers are no evidence: each resembles some class
N_EXAMINED = 48  # examples for which the task proposes other targets
UNDONE = "undone-in-validation/{}"  # the key of the remedy that undoes an `InputChange` of this key
MAX_RARE = 0.2  # fraction of positive targets among all, up to which labels are rare
THRESHOLD = 0.5  # of a probability, from which a label is predicted
LOWER_THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)  # that are tried for rare labels
MIN_F1_GAIN = 0.07  # of the mean F1, by one of these, or by a weight of the labels in the loss
N_COMPARED = 200  # images of each part of the data whose preprocessing is compared


class Evaluations:
    """The scores of a case's present model on its data, as they are and changed.

    trainings: of the case. findings: of the checks. is_explained: whether a fault that was measured may already explain
    that the training fails. likely: the findings of experiments that prove no cause, each with the case without the
    finding, None if there is none. partial_cause: a cause that explains only a part of the gap of the scores.
    base_scores: the scores of trainings of the case as it is, by number of steps and pair of trainings, which are
    made with and without a change. untried: why a change was not tried, by its key.
    """

    def __init__(self, trainings: PairedTrainings, findings: Sequence[Finding], is_explained: bool) -> None:
        self.trainings, self.findings, self.is_explained = trainings, findings, is_explained
        self.task, self.case, self.score = trainings.task, trainings.case, trainings.score
        self.untried, self.likely = trainings.untried, list[tuple[Finding, TrainingCase | None]]()
        self.partial_cause: ProvenCause | None = None
        self.base_scores: dict[int, dict[int, Tensor]] = {}

    @property
    def is_scored(self) -> bool:
        """Whether the model was trained to the end, and there are validation data for its scores."""
        return self.case.validation is not None and self.case.trained and not optional_fields(self.case).stopped

    @property
    def has_targets(self) -> bool:
        """Whether the data have targets, and not only inputs that stand in their place."""
        return any(
            getattr(data, "x", None) is not getattr(data, "y", 0)
            for data in (self.case.train, self.case.validation)
            if data is not None
        )

    @cached_property
    def score_gap(self) -> float:
        """The score on training data minus that on validation data; 0 without validation data or a trained model."""
        if not self.is_scored:
            return 0.0
        return self.training_score - float(self.validation_scores.mean())

    @cached_property
    def training_score(self) -> float:
        """The mean score on training data."""
        return float(self.score(self.case.model, self.case.train).mean())

    @cached_property
    def validation_scores(self) -> Tensor:
        """The scores of the validation examples."""
        return self.score(self.case.model, validation_of(self.case))

    @cached_property
    def halves(self) -> tuple[Source, Source]:
        """The two halves of the validation data: the first to choose changes and to train on, the second for scores."""
        validation = validation_of(self.case)
        order = torch.randperm(len(validation), generator=generator(self.case.model.seed))
        first, second = (half.sort().values for half in order.tensor_split(2))
        return subset(validation, first, False), subset(validation, second, False)

    def evaluate_changes(self) -> ProvenCause | None:
        """Evaluate the present model on validation data with other targets or other preprocessing of the images.

        Changes are chosen on one half of the data and measured on the other. Returns the cause with the highest score,
        unless it explains less than MIN_EXPLAINED of the gap; it is then the `partial_cause`.
        """
        if self.score_gap < MIN_GAP or len(validation_of(self.case)) < 2 * MIN_HALF_EXAMPLES:
            return None
        if (proven_cause := self._without_lacking_classes()) is not None:
            return proven_cause
        choice_half, score_half = self.halves
        base = replace(self.case, validation=score_half)
        scores_before = self.score(base.model, score_half)
        proven_causes: list[ProvenCause] = []
        target_changes = [one for one in self.other_targets(choice_half, base.model) if not one.unproven]
        if self._is_of_other_classes:
            target_changes.clear()  # an image of an unknown class is answered by a known one in any case
        # of two that explain as much, other class numbers are likelier than mirrored images
        for proposed in (*(changed_targets("validation", one) for one in target_changes), *self._input_changes()):
            change = replace(proposed, min_gain=MIN_PARTLY_EXPLAINED * self.score_gap)
            score_pair = scores_before, self.score(base.model, validation_of(change.apply(base)))
            effect = self.trainings.record(effect_of(change, self.score.name, [score_pair], 0))
            if effect.verdict == "cause":
                proven_causes.append(ProvenCause(change, effect, change.apply(self.case)))
        best = max(proven_causes, key=lambda cause: cause.effect.after, default=None)
        if best is None or best.effect.gains[0] >= MIN_EXPLAINED * self.score_gap:
            return best
        self.partial_cause = best
        return None

    def find_more_positives(self) -> ProvenCause | None:
        """Predict rare labels from a lower threshold, or else train with a weight on them; by the labels' mean F1.

        The threshold is chosen on each half of the validation examples, and measured on the other half with the present
        model. Not for a loss that weights positive targets already, nor for masks that do not fit their images, which
        lower all outputs, nor for one label: for that, any sound model gains F1 from a threshold that fits its share.
        """
        case = self.case
        are_paired = all(finding.check != unpaired_targets.NAME for finding in self.findings)
        if not isinstance(case, Case) or not self.is_scored or not are_paired:
            return None
        predicted = case.validation_predictions
        if predicted is None or predicted.y.numel() != predicted.examples.y.numel():
            return None
        y, outputs = _by_label(predicted)
        n, share = len(y), float(((y > 0).sum((0, 2)) / (len(y) * y.shape[2])).median())
        weights, found = torch.as_tensor(getattr(case.model.loss, "pos_weight", 1.0)), weighing(case)
        is_weighted = bool((weights != 1).any()) or (found is not None and found.differ)
        is_binary = bool(((y == 0) | (y == 1)).all()) and not is_weighted
        if not is_binary or y.shape[1:] == (1, 1) or not 0 < share <= MAX_RARE or n < 2 * MIN_HALF_EXAMPLES:
            return None
        if not case.compares and (float(outputs.min()) < 0 or float(outputs.max()) > 1):
            outputs = outputs.sigmoid()
        halves = torch.randperm(n, generator=generator(case.model.seed)).tensor_split(2)
        thresholds, scores = list[float](), list[tuple[Tensor, Tensor]]()
        for chosen, scored in (halves, halves[::-1]):
            means = [float(_f1_scores(outputs[chosen] > one, y[chosen]).mean()) for one in LOWER_THRESHOLDS]
            thresholds.append(LOWER_THRESHOLDS[means.index(max(means))])
            before, after = (_f1_scores(outputs[scored] > one, y[scored]) for one in (THRESHOLD, thresholds[-1]))
            scores.append((before, after))
        pos_weight = ((1 - share) / share) ** 0.5
        weight_fix = (
            f"give positive targets more weight (pos_weight of about {pos_weight:.2g}, the root of the number of "
            "negative targets for each of them)"
        )
        lower = suspect(
            class_imbalance.NAME, f"positive targets are rare ({share:.1%}), and without weights the loss counts a "
            "missed one no more than any other error", f"{weight_fix}, or predict from a lower threshold",
            f"a threshold of {fmean(thresholds):.2g} instead of {THRESHOLD}", lambda case: case, path="train",
            min_gain=MIN_F1_GAIN, key="lower-threshold", positive_targets=share,
        )  # fmt: skip
        score_pair = torch.cat([before for before, _ in scores]), torch.cat([after for _, after in scores])
        effect = effect_of(lower, "mean F1", [score_pair], 0)
        if effect.verdict == "cause":
            return ProvenCause(lower, self.trainings.record(effect), case)
        if type(case.model.loss) is BinaryCrossEntropy and y.shape[2] == 1:
            loss = replace(case.model.loss, pos_weight=pos_weight)
            remedy = Remedy(f"pos_weight = {pos_weight:.2g}", lambda case: rebuilt(case, loss=loss), "positive-weight")
            settings = {"loss.pos_weight": pos_weight}
            finding = replace(lower.finding, fix=weight_fix, remedy=remedy, settings=settings)
            cause = self._train_for_f1(replace(lower, finding=finding, is_likely=True))
            if cause is not None:
                return cause
        gain = effect.gains[0]
        if gain >= MIN_F1_GAIN and effect.low >= -gain / 2:  # two standard errors
            self.trainings.record(effect)
            self.likely.append((replace(lower.finding, remedy=None, is_fault=True), None))
        return None

    def _train_for_f1(self, change: Suspect) -> ProvenCause | None:
        """Return the cause if a change certainly raises the mean F1, above that of the present model too."""
        case, trainings = self.case, self.trainings.scored_by(HeldOutScorer(self.task, self.case, "mean F1", _f1_of))
        assert isinstance(case, Case)
        base, steps = replace(case, validation=case.validation_sample), trainings.max_steps
        present_scores = trainings.score(case.model, validation_of(base))
        base_scores = {0: present_scores} if trainings.model_steps == steps else dict[int, Tensor]()
        cause = trainings.measure(base, change, base_scores, steps)
        # a short training may gain what all steps of the training reach without the change
        is_above = cause is not None and fmean(cause.effect.after) >= float(present_scores.mean()) + MIN_F1_GAIN
        return cause if is_above else None

    @property
    def _lacked_classes(self) -> Finding | None:
        """The finding that the training data lack classes of the validation data, if there is one."""
        return next(
            (found for found in self.findings if found.path == "train" and found.kind == class_imbalance.LACKED_CLASS),
            None,
        )

    @property
    def _is_of_other_classes(self) -> bool:
        """Whether most validation examples are of one or two classes that the training data lack."""
        finding, validation = self._lacked_classes, validation_of(self.case)
        if finding is None or not isinstance(validation, Arrays) or not isinstance(self.case.train, Arrays):
            return False
        is_lacked = ~torch.isin(validation.y, self.case.train.y)
        n_lacked = len(validation.y[is_lacked].unique())
        return n_lacked <= MAX_RENUMBERED and float(is_lacked.double().mean()) > 0.5

    def _without_lacking_classes(self) -> ProvenCause | None:
        """Evaluate the present model without the validation examples whose classes a finding says training lacks."""
        case = self.case
        finding = self._lacked_classes
        if finding is None or not isinstance(case.train, Arrays) or not isinstance(case.validation, Arrays):
            return None
        if case.validation.y.dim() != 1:
            return None
        has_learned_class, scores = torch.isin(case.validation.y, case.train.y), self.validation_scores
        is_learned_class = has_learned_class[
            drawn_indices(len(has_learned_class), len(scores), case.model.seed)
        ].double()
        if not MIN_HALF_EXAMPLES <= int(is_learned_class.sum()) < len(is_learned_class):
            return None
        remaining = subset(case.validation, has_learned_class.nonzero().flatten(), False)
        remedy = Remedy(
            "validation without classes that training lacks", lambda case: replace(case, validation=remaining),
            "without-lacking-classes",
        )  # fmt: skip
        change = Suspect(replace(finding, remedy=remedy), min_gain=MIN_EXPLAINED * self.score_gap)
        # The classes that are left out score 0, and the others weigh more, so that the mean is that of the others.
        remaining_scores = scores * is_learned_class
        factor = float(self.score(case.model, remaining).mean()) / max(float(remaining_scores.mean()), 1e-12)
        effect = self.trainings.record(effect_of(change, self.score.name, [(scores, factor * remaining_scores)], 0))
        if effect.verdict != "cause":
            return None
        cause = f"{finding.cause}{lacked_text(finding, differences(case.model, case.train, case.validation))}"
        return ProvenCause(change, effect, change.apply(case)).with_finding(replace(finding, cause=cause))

    def is_harmless(self, finding: Finding) -> bool:
        """Return whether a finding was shown to do no harm.

        It says that validation inputs differ, which score well, or that they are near copies, without which a training
        loses hardly anything.
        """
        if finding.kind == leakage.NEAR_COPIES:
            effects = [one for one in self.trainings.effects if one.key == leakage.NEAR_COPIES]
            return bool(effects) and fmean(effects[0].gains) < MIN_GAIN
        is_of_inputs = finding.check == preprocessing_mismatch.NAME and finding.path != "train"
        if not is_of_inputs or not self.is_scored or self.score_gap >= MIN_HARMFUL_GAP:
            return False
        return float(self.validation_scores.mean()) >= MIN_LEARNED_SCORE

    def refutes(self, finding: Finding) -> bool:
        """Return whether undoing the change of the images that a finding names had no effect."""
        without_effect = {effect.key for effect in self.trainings.effects if effect.verdict == "no effect"}
        return UNDONE.format(finding.kind) in without_effect

    def other_targets(self, data: Source, suggesting_model: BaseModel | None) -> Sequence[TargetChange]:
        """Return the task's proposed changes of targets for some examples.

        suggesting_model: a model whose outputs are used for the proposals, or None. There are none by outputs in
        another form than the targets.
        """
        if suggesting_model is not None and self.score.has_other_outputs:
            return ()
        model, examples = self.case.model, read_examples(data, N_EXAMINED, self.case.model.seed)
        images, targets = [example.images[0] for example in examples], [example.targets[0] for example in examples]
        outputs = None if suggesting_model is None else outputs_for(suggesting_model, examples)
        return self.task.target_changes(model, images, targets, outputs)

    def _input_changes(self) -> list[Suspect]:
        """Return changes of the validation inputs.

        Changes that move pixels are only for classes, and not beside labels at fault: a weak model may answer those
        better for other pixels by chance.
        """
        train, validation = (self._images(data) for data in (self.case.train, validation_of(self.case)))
        if train is None or validation is None:
            return []
        inputs = "images" if train.dim() == 4 else "inputs"
        labels_at_fault = any(
            finding.is_fault and finding.check in (confused_labels.NAME, shifted_labels.NAME, shuffled_labels.NAME)
            for finding in self.findings
        )
        moves_pixels = optional_fields(self.case).classifies is True and not labels_at_fault
        changes = input_changes(validation, train, moves_pixels)
        return [self._input_change(key, change, inputs) for key, change in changes.items()]

    def _input_change(self, key: str, change: InputChange, inputs: str) -> Suspect:
        cause = f"validation {inputs} are {change.fault}, unlike training {inputs}"
        description, path = f"validation {inputs} changed back (they were {change.fault})", "validation"
        if key == REVERSED_CHANNELS:
            cause = f"training and validation images {REVERSED_TEXT}"
            description, path = f"validation {inputs} in the other order of channels", BOTH_PARTS
        return suspect(
            "preprocessing-mismatch", cause, "use the same preprocessing function in training, validation and "
            "prediction", description,
            lambda case: replace(case, validation=with_images(case.validation, change.undo)),
            path=path, key=UNDONE.format(key),
        )  # fmt: skip

    def _images(self, data: Source) -> Tensor | None:
        """Return at most N_COMPARED images (n, C, H, W) or vectors as floats; None for others and for several sizes."""
        if isinstance(data, Arrays):
            compared = data.x[drawn_indices(len(data), N_COMPARED, self.case.model.seed)]
            return float_images(compared) if data.x.dim() in (2, 4) else None
        images = [example.images for example in read_examples(data, N_COMPARED, self.case.model.seed)]
        has_one_size = len({image.shape for image in images}) == 1 and images[0].dim() == 4
        return float_images(torch.cat(images)) if has_one_size else None


def _f1_of(model: BaseModel, data: Arrays) -> Tensor:
    """Return the scores of all examples whose mean is the mean F1 of the labels."""
    y, outputs = _by_label(predictions(model, data))
    return _f1_scores(outputs > THRESHOLD, y)


def _by_label(predicted: Predictions) -> tuple[Tensor, Tensor]:
    """Return the targets and the outputs of examples by label, (n, labels, values) each."""
    n, n_labels = len(predicted.y), predicted.y.shape[1] if predicted.y.dim() > 1 else 1
    return predicted.examples.y.reshape(n, n_labels, -1), predicted.y.reshape(n, n_labels, -1)


def _f1_scores(predicted: Tensor, y: Tensor) -> Tensor:
    """Return scores of examples (n,) whose mean is the mean F1 of the labels, 2 TP / (2 TP + FP + FN).

    predicted, y: (n, labels, values). The F1 is a ratio of two means; its linearization gives the share of an example,
    so that the deviation of the scores is that of the F1 (the delta method).
    """
    hits = 2.0 * (predicted & (y > 0)).sum(2)  # (n, labels)
    sizes = (predicted.sum(2) + (y > 0).sum(2)).double()
    f1 = hits.sum(0) / sizes.sum(0).clamp_min(1)
    return (f1 + (hits - f1 * sizes) / sizes.mean(0).clamp_min(1e-12)).mean(1)


def changed_targets(split_name: str, target_change: TargetChange, min_gain: float = MIN_GAIN) -> Suspect:
    """Return a suspect whose remedy changes the targets of `split_name`, "train" or "validation"."""
    return suspect(
        target_change.name, f"the training or the validation data {target_change.cause}",
        f"{target_change.fix}, in whichever of the training and validation data they do not fit the images",
        f"{target_change.description} in the {'training' if split_name == 'train' else split_name} data",
        partial(with_changed_targets, split_names=(split_name,), apply=target_change.apply),
        path=split_name, min_gain=min_gain, key=f"{split_name}-targets/{target_change.identity}",
    )  # fmt: skip


def with_changed_targets(case: T, split_names: Sequence[str], apply: Any) -> T:
    """Return the case with changed targets in `split_names` of its data ("train", "validation")."""
    return replace(case, **{name: with_targets(getattr(case, name), apply) for name in split_names})
