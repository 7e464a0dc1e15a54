"""Experiments: interventions on a case, in the order of their cost, until one of them proves a cause."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from pellucid.data.changed_targets import with_targets
from pellucid.data.dataset import float_images
from pellucid.data.seeds import generator
from pellucid.data.source import Arrays, Source
from pellucid.doctor.case import Case
from pellucid.doctor.checks import CHECKS
from pellucid.doctor.checks.class_imbalance import IN_VALIDATION
from pellucid.doctor.checks.leakage import MAX_CLOSE_FRACTION, MAX_CLOSE_RATIO
from pellucid.doctor.diagnosis import Diagnosis, with_order, without_refuted_causes
from pellucid.doctor.examination import examine
from pellucid.doctor.finding import MIN_GAIN, Finding, Suspect, suspect
from pellucid.doctor.held_out import outputs_for, read_examples
from pellucid.doctor.inputs import FAR_RANK, closeness, is_image
from pellucid.doctor.intervention import MeasuredEffect, effect_of
from pellucid.doctor.paired import PairedTrainings, ProvenCause
from pellucid.doctor.preprocessing import input_changes
from pellucid.doctor.suspects import replaced_parts
from pellucid.doctor.trials import GOOD_SCORE
from pellucid.errors import PellucidError
from pellucid.task import TargetChange, Task
from pellucid.training.device import CPU
from pellucid.training.examples import split, subset
from pellucid.training.model import BaseModel

MIN_GAP = 0.1  # score on training data minus score on validation data; from this gap on, the data are compared
MIN_SPLIT_GAIN = 0.15  # of the score, by training on validation data instead of training data
MIN_TRAINING_SCORE = 0.7  # on training data; below it, a training on validation data is tried even without a gap
MIN_PART_GAIN, MIN_RATE_GAIN = 0.07, 0.15  # of the score, by replacing a part or the learning rate of the training
# For a model that was trained on validation data: its score on training data divided by its score on validation data,
# both minus the score by chance. Up to this ratio, the training targets are unrelated to their images.
MAX_UNPAIRED_SCORE = 0.12
MIN_HALF_EXAMPLES = 20  # in each half of the validation data; one half is only scored, see `_validation_halves`
N_EXAMINED = 48  # examples for which the task proposes other targets
N_COMPARED = 400  # training images with which the preprocessing of validation images is compared
HELD_OUT_FRACTION = 0.25  # fraction of the training data that is held out if there are no validation data
MAX_SEARCHES = 3  # for causes, with a budget; each is made in the case without the causes of those before it
CROSS_FIT = "training on validation data"
FURTHER_SEARCH = "a search for further causes", "needs a budget, such as --budget 18"


def with_causes(
    diagnosis: Diagnosis,
    task: Task,
    case: Any,
    show: Callable[[str], object] | None = None,
    budget: float | None = None,
) -> Diagnosis:
    """Return a diagnosis with the causes that interventions prove, if no cause is proven yet, and with all effects.

    Findings that the case no longer has after an intervention become consequences of its cause; a fault of the
    validation data without which the score is the same becomes a symptom. With a budget, further causes are looked for
    in the case without the first; without one, the diagnosis states that this was left out. case: a Case, or an object
    with the fields model, trained, train, validation, begin, batch_size, steps_planned, augment and device; for other
    objects, and for a case whose training stopped with an error, nothing is tried. show: called with a sentence about
    each measured effect. budget: the multiply-adds of all trainings together, divided by those of the case's training.
    """
    is_known = hasattr(case, "steps_planned") and not getattr(case, "stopped", "")
    if not is_known or any(finding.proven for finding in diagnosis.findings):
        return diagnosis
    has_trials = isinstance(case, Case) and case.has_score
    faults = [finding for finding in diagnosis.findings if finding.is_fault]
    experiments = Experiments(
        task, has_trials, faults, PairedTrainings(task, case, show or (lambda line: None), budget)
    )
    causes: dict[str, ProvenCause] = {}
    effects: list[MeasuredEffect] = []
    left_out: dict[str, str] = {}
    for _ in range(MAX_SEARCHES):
        cause = experiments.run()
        effects += experiments.trainings.effects
        left_out |= experiments.untried
        if cause is None:
            break
        causes.setdefault(cause.finding.check, cause)  # training and validation data may have the same fault
        if fmean(cause.effect.after) >= GOOD_SCORE:
            break
        if budget is None:
            left_out |= [FURTHER_SEARCH]
            break
        faults = [fault for fault in faults if fault.check not in causes]
        experiments = Experiments(task, has_trials, faults, experiments.trainings.without_cause(cause))
    for cause in reversed(causes.values()):
        diagnosis = _with_cause_first(diagnosis, cause, task)
    by_description: dict[str, MeasuredEffect] = {}
    for effect in (*(cause.effect for cause in causes.values()), *effects):
        by_description.setdefault(effect.description, effect)
    measured = tuple(by_description.values())
    effective = {effect.name for effect in measured if effect.verdict != "no effect"}
    diagnosis = without_refuted_causes(diagnosis, {effect.name for effect in measured} - effective)
    reasons = {name: reason for name, reason in left_out.items() if name not in by_description}
    return replace(diagnosis, intervention_effects=measured, left_out={**diagnosis.left_out, **reasons})


def _with_cause_first(diagnosis: Diagnosis, proven_cause: ProvenCause, task: Task) -> Diagnosis:
    """Return the diagnosis with the proven cause first; findings that the mended case lacks become its consequences."""
    name = proven_cause.change.finding.check
    findings, absent_checks = diagnosis.findings, set[str]()
    kept = [k for k, finding in enumerate(findings) if finding.check != name]
    if open_checks := {findings[k].check for k in kept if not findings[k].proven}:
        mended_case, checks = proven_cause.mended_case, [check for check in CHECKS if check.name in open_checks]
        mended_diagnosis = task.diagnose(mended_case, False, CPU) or examine(mended_case, checks)
        absent_checks = ({*mended_diagnosis.checks} - {*mended_diagnosis.names}) & open_checks
    resolved = {k for k in kept if findings[k].check in absent_checks}
    with_cause = replace(
        diagnosis, findings=(*findings, proven_cause.finding),
        cause_by_consequence=diagnosis.cause_by_consequence | dict.fromkeys(resolved, name),
        symptoms=diagnosis.symptoms - resolved, resolved=diagnosis.resolved | resolved,
    )  # fmt: skip
    return with_order(with_cause, [len(findings), *kept])


class Experiments:
    """Interventions on a case: first evaluations of the present model, which are cheap, then pairs of trainings.

    has_trials: whether trials have already replaced parts of the training. faults: the case's likely causes; those with
    remedies are tried first among the parts of the training. trainings: of the case.
    """

    def __init__(self, task: Task, has_trials: bool, faults: Sequence[Finding], trainings: PairedTrainings) -> None:
        self.task, self.has_trials, self.faults, self.trainings = task, has_trials, faults, trainings
        self.case, self.score, self.untried = trainings.case, trainings.score, trainings.untried

    def run(self) -> ProvenCause | None:
        """Return the first cause that an intervention proves; None if there is none."""
        experiments = {"validation data read otherwise": self._evaluate_changes}
        if getattr(self.case, "trainable", True) and self.case.steps_planned:
            experiments["other targets"] = self._train_with_suggested_targets
            experiments[CROSS_FIT] = self._train_on_validation_data
            if not self.has_trials:
                experiments["parts replaced by defaults"] = self._train_with_replaced_parts
        for name, experiment in experiments.items():
            try:
                proven_cause = experiment()
            except PellucidError as error:  # the network or the data do not allow the change
                self.untried[name] = str(error)
                continue
            if proven_cause is not None:
                return proven_cause
        if len(experiments) == 1 and not self.untried and self._score_gap >= MIN_GAP:
            self.untried["short trainings"] = "need a run folder, or the epochs and the batch size of the training"
        return None

    @cached_property
    def _score_gap(self) -> float:
        """The score on training data minus that on validation data; 0 without validation data or a trained model."""
        if self.case.validation is None or not self.case.trained:
            return 0.0
        return self._training_score - float(self._validation_scores.mean())

    @cached_property
    def _training_score(self) -> float:
        return float(self.score(self.case.model, self.case.train).mean())

    @cached_property
    def _validation_scores(self) -> Tensor:
        return self.score(self.case.model, self.case.validation)

    @cached_property
    def _validation_halves(self) -> tuple[Source, Source]:
        """The two halves of the validation data: the first to choose changes and to train on, the second for scores."""
        validation = self.case.validation
        order = torch.randperm(len(validation), generator=generator(self.case.model.seed))
        first, second = (part.sort().values for part in order.tensor_split(2))
        return subset(validation, first, False), subset(validation, second, False)

    def _evaluate_changes(self) -> ProvenCause | None:
        """Evaluate the present model on validation data with other targets or other preprocessing of the images.

        Changes are chosen on one half of the data and measured on the other. Returns the cause with the highest score.
        """
        if self._score_gap < MIN_GAP or len(self.case.validation) < 2 * MIN_HALF_EXAMPLES:
            return None
        choice_half, score_half = self._validation_halves
        base = replace(self.case, validation=score_half)
        scores_before = self.score(base.model, score_half)
        proven_causes: list[ProvenCause] = []
        target_changes = self._other_targets(choice_half, base.model)
        changes = [_changed_targets("validation", change) for change in target_changes if not change.unproven]
        for proposed in (*self._input_changes(), *changes):
            change = replace(proposed, min_gain=self._score_gap / 2)  # a cause must explain at least half of the gap
            changed_case = change.apply(base)
            score_pair = scores_before, self.score(base.model, changed_case.validation)
            effect = self.trainings.record(effect_of(change, self.score.name, [score_pair], 0))
            if effect.verdict == "cause":
                proven_causes.append(ProvenCause(change, effect, change.apply(self.case)))
        return max(proven_causes, key=lambda cause: cause.effect.after, default=None)

    def _other_targets(self, part: Source, suggesting_model: BaseModel | None) -> Sequence[TargetChange]:
        """Return the task's proposed changes of targets for some examples.

        suggesting_model: a model whose outputs are used for the proposals, or None.
        """
        model, examples = self.case.model, read_examples(part, N_EXAMINED, self.case.model.seed)
        images, targets = [example.images[0] for example in examples], [example.targets[0] for example in examples]
        outputs = None if suggesting_model is None else outputs_for(suggesting_model, examples)
        return self.task.target_changes(model, images, targets, outputs)

    def _input_changes(self) -> list[Suspect]:
        """Return changes of the validation images; changes that move pixels only if the targets have no positions."""
        train, validation = self.case.train, self.case.validation
        if not (isinstance(train, Arrays) and isinstance(validation, Arrays)) or train.x.dim() != 4:
            return []
        changes = input_changes(validation.x, train.x[:N_COMPARED], self.case.model.stats)
        fix = "use the same preprocessing function in training, validation and prediction"
        return [
            suspect(
                "preprocessing-mismatch", f"validation images are {name}, unlike training images", fix,
                f"validation images no longer {name}",
                lambda case, change=change: replace(
                    case, validation=replace(case.validation, x=change(float_images(case.validation.x)))
                ),
                path="validation",
            )
            for name, change in changes.items() if train.y.dim() <= 2 or "border" not in name
        ]  # fmt: skip

    def _train_with_suggested_targets(self) -> ProvenCause | None:
        """Train with each change of targets that the task proposes for training images.

        The validation targets are changed too if the task proposes the same change for validation images.
        """
        base, base_scores = self.case, dict[int, Tensor]()
        if base.validation is None:
            train, validation = split(base.train, HELD_OUT_FRACTION, base.model.seed)
            base = replace(base, train=train, validation=validation)
        suggested = self._other_targets(base.train, None)
        validation_changes = self._other_targets(base.validation, None) if suggested else ()
        for target_change in suggested:
            description = target_change.description
            in_both = any(change.description == description for change in validation_changes)
            parts = ("train", "validation") if in_both else ("train",)
            change = suspect(
                target_change.name, f"the targets {target_change.cause}", target_change.fix, description,
                partial(_with_targets, parts=parts, apply=target_change.apply), path="train",
            )  # fmt: skip
            if (proven_cause := self.trainings.measure(base, change, base_scores)) is not None:
                return proven_cause
        return None

    def _train_on_validation_data(self) -> ProvenCause | None:
        """Train on half of the validation data and on as many training examples; score both on the other half."""
        train = self.case.train
        if self.case.validation is None or not self.case.trained or getattr(train, "x", None) is getattr(train, "y", 0):
            return None  # without targets, no wrong targets can be found
        if self._score_gap < MIN_GAP and self._training_score >= MIN_TRAINING_SCORE:
            return None
        first_half, second_half = self._validation_halves
        if len(first_half) < MIN_HALF_EXAMPLES:
            self.untried[CROSS_FIT] = f"needs {2 * MIN_HALF_EXAMPLES} validation examples"
            return None
        if _have_near_copies(first_half, second_half, self.case.model.seed):
            self.untried[CROSS_FIT] = (
                "needs validation examples that are no near copies of each other, as frames of a scene or images of a "
                "patient are: half of them would be learned by heart from the other half"
            )
            return None
        train, count = self.case.train, min(len(first_half), len(self.case.train))
        order = torch.randperm(len(train), generator=generator(self.case.model.seed))
        train_part = subset(train, order[:count], False)
        base = replace(self.case, train=train_part, validation=second_half, batch_size=min(self.case.batch_size, count))
        validation_part = subset(first_half, torch.arange(count), False)
        change = suspect(
            "splits-differ", "the training and validation data differ in their images or their targets",
            "compare some training and validation examples: whether targets fit the images, how both were read and "
            "resized, and which inputs one of them lacks",
            f"trained on {count} validation instead of training examples",
            lambda case: replace(case, train=validation_part), path="validation", min_gain=MIN_SPLIT_GAIN,
        )  # fmt: skip
        base_scores = dict[int, Tensor]()
        split_cause = self.trainings.measure(base, change, base_scores)
        return None if split_cause is None else self._training_targets(base, base_scores, split_cause)

    def _training_targets(self, base: Any, base_scores: dict[int, Tensor], split_cause: ProvenCause) -> ProvenCause:
        """Return how the training targets are wrong, judged by a model that was trained on validation data.

        base, base_scores: the case and the scores of the trainings on training data. split_cause: the cause that the
        training on validation data proved, returned if no change of the targets explains the difference.
        """
        for fault in self.faults:
            if fault.path == "train" and IN_VALIDATION in fault.evidence:  # classes that the training data lack
                cause = f"{fault.cause} (the first of them: {fault.evidence['the_first_of_them']})"
                finding = replace(fault, cause=cause, remedy=split_cause.change.remedy)
                return split_cause.with_names_of(replace(split_cause.change, finding=finding))
        model, n_untried = split_cause.mended_case.model, len(self.untried)
        target_scores, exchanged_scores = (self.score(model, base.train, exchanged) for exchanged in (False, True))
        for target_change in self._other_targets(self.case.train, model):
            change = _changed_targets("train", target_change, MIN_SPLIT_GAIN)
            if not target_change.unproven:
                score_pairs = [(target_scores, self.score(model, change.apply(base).train))]
                if effect_of(change, self.score.name, score_pairs, 0).verdict != "cause":
                    continue
            proven_cause = None if target_change.apply is None else self.trainings.measure(base, change, base_scores)
            if proven_cause is not None or target_change.unproven:  # an unproven change needs only the model's outputs
                return proven_cause or split_cause.with_names_of(change)
        exchange = self._exchange_of_direction(base)
        if exchange is not None and (proven_cause := self.trainings.measure(base, exchange, base_scores)):
            return proven_cause
        exchanged_score, validation_score = float(exchanged_scores.mean()), fmean(split_cause.effect.after)
        max_unpaired = MAX_UNPAIRED_SCORE * (validation_score - exchanged_score)
        is_paired = float(target_scores.mean()) - exchanged_score > max_unpaired
        if len(self.untried) > n_untried or is_paired or self._training_score >= MIN_TRAINING_SCORE:
            return split_cause  # targets that can be learned fit their images
        return split_cause.with_names_of(replace(split_cause.change, finding=replace(
            split_cause.change.finding, check="unpaired-targets", path="train",
            cause="the training targets belong to other images: a model that was trained on validation data predicts "
            "them hardly better than the targets of other training images",
            fix="match images and targets by their names, not by their places in two lists",
        )))  # fmt: skip

    def _exchange_of_direction(self, base: Any) -> Suspect | None:
        """Return the exchange of inputs and targets in the training data; None unless both have the same shape."""
        if not isinstance(base.train, Arrays) or base.train.x.shape != base.train.y.shape:
            return None
        return suspect(
            "direction", "the training goes from the targets to the inputs, unlike the validation",
            "exchange inputs and targets of the training data", "training with inputs and targets exchanged",
            lambda case: replace(case, train=replace(case.train, x=case.train.y, y=case.train.x)),
            path="train", min_gain=MIN_SPLIT_GAIN,
        )  # fmt: skip

    def _train_with_replaced_parts(self) -> ProvenCause | None:
        """Replace one part of the training at a time by a plain default, in trainings of at most its number of steps.

        More trainings without a part are made only if the first one has a clearly higher score than the present model
        or, if that has fewer steps, than a training with the part.
        Learning rates are tried in short trainings, since another rate improves many trainings a little.
        """
        base, trainings = self.case, self.trainings
        if base.validation is None or not base.trained:
            return None
        base_scores_by_steps = {steps: dict[int, Tensor]() for steps in (trainings.steps, trainings.max_steps)}
        if trainings.model_steps in base_scores_by_steps:
            base_scores_by_steps[trainings.model_steps][0] = self._validation_scores
        suspected_faults = [Suspect(fault) for fault in self.faults if fault.remedy is not None]
        for part in (*suspected_faults, *replaced_parts(base)):
            steps = trainings.steps if part.general else trainings.max_steps
            change = replace(part, min_gain=MIN_RATE_GAIN if part.general else MIN_PART_GAIN)
            base_scores, is_shorter = base_scores_by_steps[steps], trainings.model_steps < steps
            if not trainings.spend(base, change, 2 if is_shorter and not base_scores else 1, steps):
                continue
            if is_shorter and not base_scores:
                base_scores[0] = trainings.train(base, 0, steps).scores
            try:
                trained = trainings.train(change.apply(base), 0, steps)
            except PellucidError as error:  # the change does not fit the networks
                self.untried[change.remedy.description] = str(error)
                continue
            first_scores = base_scores[0] if is_shorter else self._validation_scores
            first_effect = effect_of(change, self.score.name, [(first_scores, trained.scores)], 0)
            if first_effect.verdict != "cause":
                description = f"{change.remedy.description}, {steps} steps instead of the whole training"
                trainings.record(replace(first_effect, description=description))
            elif cause := trainings.measure(base, change, base_scores, steps, trained):
                return cause
        return None


def _have_near_copies(first: Source, second: Source, seed: int) -> bool:
    """Return whether many images of one half of the data are far nearer to some images of the other half than to most.

    False if a class has too few images: images of one class may be similar without being copies.
    """
    if not (isinstance(first, Arrays) and isinstance(second, Arrays) and is_image(first.x)):
        return False
    n_groups = len(first.y.unique()) if first.y.dim() == 1 and not first.y.is_floating_point() else 4
    if len(first) < 2 * FAR_RANK * n_groups:
        return False
    *_, far_quotient = closeness(second.x, first.x, seed)
    return float((far_quotient < MAX_CLOSE_RATIO).double().mean()) >= MAX_CLOSE_FRACTION


def _changed_targets(part: str, target_change: TargetChange, min_gain: float = MIN_GAIN) -> Suspect:
    """Return a suspect whose remedy changes the targets of `part`, "train" or "validation"."""
    return suspect(
        target_change.name, f"the training or the validation data {target_change.cause}",
        f"{target_change.fix}, in whichever of the training and validation data they do not fit the images",
        f"{'training' if part == 'train' else part} with {target_change.description}",
        partial(_with_targets, parts=(part,), apply=target_change.apply), path=part, min_gain=min_gain,
    )  # fmt: skip


def _with_targets(case: Any, parts: Sequence[str], apply: Any) -> Any:
    """Return the case with changed targets in `parts` of its data ("train", "validation")."""
    return replace(case, **{part: with_targets(getattr(case, part), apply) for part in parts})
