"""Experiments: interventions on a case in the order of their cost, until one of them is certainly a cause."""

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
from pellucid.doctor.checks.leakage import MAX_CLOSE, MAX_CLOSE_RATIO
from pellucid.doctor.diagnosis import Diagnosis
from pellucid.doctor.examination import examine
from pellucid.doctor.held_out import outputs_for, read_examples
from pellucid.doctor.inputs import FAR_RANK, closeness, is_image
from pellucid.doctor.intervention import MIN_GAIN, Intervention, effect_of
from pellucid.doctor.paired import Certain, PairedTrainings
from pellucid.doctor.prepared import input_changes
from pellucid.doctor.suspects import replaced_parts
from pellucid.doctor.trials import has_score
from pellucid.errors import PellucidError
from pellucid.task import TargetChange, Task
from pellucid.training.device import CPU
from pellucid.training.examples import split, subset
from pellucid.training.model import BaseModel

MIN_GAP = 0.1  # of the score on training data over that on validation data, from which on they are compared
MIN_SPLIT_GAIN = 0.15  # of training on validation data instead of training data
MIN_TRAINING_SCORE = 0.7  # below it, a training that learned too little is compared with one on validation data too
MIN_PART_GAIN, MIN_RATE_GAIN = 0.07, 0.15  # of a training with a replaced part over the whole training
UNPAIRED = 0.12  # of the score above chance that a model reaches for other images: less is that of unrelated targets
MIN_EXAMPLES = 20  # in each half of the validation data
N_EXAMINED = 48  # training images that suggest other targets
N_PREPARED = 400  # training images with which the preparation of validation images is compared
HELD_OUT = 0.25  # fraction of the training data that is held out if there are no validation data

CROSS_FIT = "training on validation data"


def with_causes(found: Diagnosis, task: Task, case: Any, show: Callable[[str], object] | None = None) -> Diagnosis:
    """Return a diagnosis with the cause that an intervention removes, if none is proven yet, and all effects.

    Findings that the mended case no longer has become consequences of the cause. case: a Case, or another one with
    model, trained, train, validation, begin, batch_size, steps_planned, augment and device; for other cases, nothing is
    tried. show: called with each effect in words.
    """
    is_known = hasattr(case, "steps_planned") and not getattr(case, "stopped", "")
    if not is_known or any(finding.proven for finding in found.findings):
        return found
    experiments = Experiments(task, case, isinstance(case, Case) and has_score(case), show or (lambda line: None))
    certain, effects = experiments.run(), experiments.trainings.effects
    if certain is not None:
        found = _merged(found, certain, task)
        effects = [certain.effect, *(effect for effect in effects if effect.does != certain.effect.does)]
    return replace(found, effects=tuple(effects), left_out={**found.left_out, **experiments.untried})


def _merged(found: Diagnosis, certain: Certain, task: Task) -> Diagnosis:
    """Return the diagnosis with a cause first, and as its consequences the findings that the mended case lacks."""
    name = certain.change.name
    kept = [k for k, finding in enumerate(found.findings) if finding.check != name]
    places = {old: new for new, old in enumerate(kept, 1)}
    gone = set[int]()
    if kept:  # without other findings, no check is repeated
        again = task.diagnose(certain.mended, False, CPU) or examine(certain.mended, CHECKS)
        absent = {*again.checks} - {*again.names}
        gone = {places[k] for k in kept if found.findings[k].check in absent}
    follows = {places[k]: cause for k, cause in found.follows.items() if k in places} | dict.fromkeys(gone, name)
    return replace(
        found,
        findings=(certain.finding, *(found.findings[k] for k in kept)),
        follows=follows,
        attempts={places[k]: attempt for k, attempt in found.attempts.items() if k in places},
        symptoms=frozenset({places[k] for k in found.symptoms if k in places} - gone),
        gone=frozenset(gone | {places[k] for k in found.gone if k in places}),
    )


class Experiments:
    """Interventions on a case: cheap evaluations of the present model, then pairs of trainings.

    has_trials: whether trials have replaced parts of the training already. show: see `with_causes`.
    """

    def __init__(self, task: Task, case: Any, has_trials: bool, show: Callable[[str], object]) -> None:
        self.task, self.case, self.has_trials = task, case, has_trials
        self.trainings = PairedTrainings(task, case, show)
        self.score, self.untried = self.trainings.score, self.trainings.untried

    def run(self) -> Certain | None:
        """Return the first intervention that is certainly a cause, None if there is none."""
        looks = {"validation data read otherwise": self._evaluations}
        if getattr(self.case, "trainable", True) and self.case.steps_planned:
            looks |= {"other targets": self._suggestions, CROSS_FIT: self._cross_fit}
            looks |= {} if self.has_trials else {"parts replaced by defaults": self._replaced_parts}
        for name, look in looks.items():
            try:
                found = look()
            except PellucidError as error:  # the change does not fit the network, or the data cannot be read so
                self.untried[name] = str(error)
                continue
            if found is not None:
                return found
        if len(looks) == 1 and not self.untried and self._gap >= MIN_GAP:
            self.untried["short trainings"] = "need a run folder, or the epochs and the batch size of the training"
        return None

    @cached_property
    def _gap(self) -> float:
        """The score on training data minus that on validation data; 0 without validation data or a trained model."""
        model, validation = self.case.model, self.case.validation
        if validation is None or not self.case.trained:
            return 0.0
        return self._training_score - float(self.score(model, validation).mean())

    @cached_property
    def _training_score(self) -> float:
        return float(self.score(self.case.model, self.case.train).mean())

    @cached_property
    def _halves(self) -> tuple[Source, Source]:
        """The two halves of the validation data: one to choose changes and to train on, the other for scores."""
        validation = self.case.validation
        order = torch.randperm(len(validation), generator=generator(self.case.model.seed))
        first, second = (part.sort().values for part in order.tensor_split(2))
        return subset(validation, first, False), subset(validation, second, False)

    def _evaluations(self) -> Certain | None:
        """Evaluate the present model on validation data with other targets and with images prepared otherwise.

        Changes are chosen on one half of the data and measured on the other.
        """
        if self._gap < MIN_GAP or len(self.case.validation) < 2 * MIN_EXAMPLES:
            return None
        choosing, judging = self._halves
        base = replace(self.case, validation=judging)
        before = self.score(base.model, judging)
        certain: list[Certain] = []
        for given in (*self._input_changes(), *self._target_changes(choosing)):
            change = replace(given, min_gain=self._gap / 2)  # what only repairs a part of it is no cause
            changed = change.apply(base)
            pair = before, self.score(base.model, changed.validation)
            effect = self.trainings.note(effect_of(change, self.score.name, [pair], 0))
            if effect.verdict == "cause":
                certain.append(Certain(change, effect, change.apply(self.case)))
        return max(certain, key=lambda one: one.effect.after, default=None)

    def _other_targets(self, part: Source, predicting: BaseModel | None) -> Sequence[TargetChange]:
        """Return the task's changes of targets for some examples; predicting: a model whose outputs suggest them."""
        model, examples = self.case.model, read_examples(part, N_EXAMINED, self.case.model.seed)
        images, targets = [one.images[0] for one in examples], [one.targets[0] for one in examples]
        outputs = None if predicting is None else outputs_for(predicting, examples)
        return self.task.target_changes(model, images, targets, outputs)

    def _target_changes(self, part: Source) -> list[Intervention]:
        others = self._other_targets(part, self.case.model)
        return [_changed_targets("validation", other) for other in others if not other.unproven]

    def _input_changes(self) -> list[Intervention]:
        """Return changes of the validation images; those that move pixels only for targets without positions."""
        train, validation = self.case.train, self.case.validation
        if not (isinstance(train, Arrays) and isinstance(validation, Arrays)) or train.x.dim() != 4:
            return []
        found = input_changes(validation.x, train.x[:N_PREPARED], self.case.model.stats)
        fix = "use the same preprocessing function in training, validation and prediction"
        return [
            Intervention(
                "preprocessing-mismatch", "validation", f"validation images no longer {name}",
                f"validation images are {name}, unlike training images", fix,
                lambda case, change=change: replace(
                    case, validation=replace(case.validation, x=change(float_images(case.validation.x)))
                ),
            )
            for name, change in found.items() if train.y.dim() <= 2 or "border" not in name
        ]  # fmt: skip

    def _suggestions(self) -> Certain | None:
        """Train with the other targets that training images suggest, and validate with those of validation images."""
        base, twins = self.case, dict[int, Tensor]()
        if base.validation is None:
            train, validation = split(base.train, HELD_OUT, base.model.seed)
            base = replace(base, train=train, validation=validation)
        suggested = self._other_targets(base.train, None)
        alike = {other.does for other in self._other_targets(base.validation, None)} if suggested else set()
        for other in suggested:
            parts = ("train", "validation") if other.does in alike else ("train",)
            cause, apply = f"the targets {other.cause}", partial(_with_targets, parts=parts, apply=other.apply)
            change = Intervention(other.name, "train", other.does, cause, other.fix, apply)
            if (certain := self.trainings.measure(base, change, twins)) is not None:
                return certain
        return None

    def _cross_fit(self) -> Certain | None:
        """Train on half of the validation data and on as many training data; score both on the other half."""
        train = self.case.train
        if self.case.validation is None or not self.case.trained or getattr(train, "x", None) is getattr(train, "y", 0):
            return None  # without targets, images can only differ
        if self._gap < MIN_GAP and self._training_score >= MIN_TRAINING_SCORE:
            return None
        first, second = self._halves
        if len(first) < MIN_EXAMPLES:
            self.untried[CROSS_FIT] = f"needs {2 * MIN_EXAMPLES} validation examples"
            return None
        if _have_near_copies(first, second, self.case.model.seed):
            self.untried[CROSS_FIT] = (
                "needs validation examples that are no near copies of each other, as frames of a scene or images of a "
                "patient are: half of them would be learned by heart from the other half"
            )
            return None
        train, count = self.case.train, min(len(first), len(self.case.train))
        order = torch.randperm(len(train), generator=generator(self.case.model.seed))
        across = subset(train, order[:count], False)
        base = replace(self.case, train=across, validation=second, batch_size=min(self.case.batch_size, count))
        within = subset(first, torch.arange(count), False)
        change = Intervention(
            "splits-differ", "validation", f"trained on {count} validation instead of training examples",
            "the training and validation data differ in their images or their targets",
            "compare some training and validation examples: whether targets fit the images, how both were read and "
            "resized, and which inputs one of them lacks",
            lambda case: replace(case, train=within), MIN_SPLIT_GAIN,
        )  # fmt: skip
        twins = dict[int, Tensor]()
        differs = self.trainings.measure(base, change, twins)
        return None if differs is None else self._training_targets(base, twins, differs)

    def _training_targets(self, base: Any, twins: dict[int, Tensor], differs: Certain) -> Certain:
        """Return how the training targets are wrong, as a model sees it that was trained on validation data.

        base, twins: of the trainings on training data. differs: returned if no other targets explain the difference.
        """
        model, before = differs.mended.model, len(self.untried)
        given, chance = (self.score(model, base.train, exchanged) for exchanged in (False, True))
        for other in self._other_targets(self.case.train, model):
            change = _changed_targets("train", other, MIN_SPLIT_GAIN)
            if not other.unproven:
                gain = [(given, self.score(model, change.apply(base).train))]
                if effect_of(change, self.score.name, gain, 0).verdict != "cause":
                    continue
            certain = None if other.apply is None else self.trainings.measure(base, change, twins)
            if certain is not None or other.unproven:  # the model's outputs show what no training can
                return certain or differs.named(change)
        swapped = self._swapped(base)
        if swapped is not None and (certain := self.trainings.measure(base, swapped, twins)) is not None:
            return certain
        by_chance, reached = float(chance.mean()), fmean(differs.effect.after)
        if len(self.untried) > before or float(given.mean()) - by_chance > UNPAIRED * (reached - by_chance):
            return differs
        if self._training_score >= MIN_TRAINING_SCORE:  # the training images have what the validation images lack
            return differs
        return differs.named(replace(
            differs.change, name="unpaired-targets", path="train",
            cause="the training targets belong to other images: a model that was trained on validation data predicts "
            "them hardly better than the targets of other training images",
            fix="match images and targets by their names, not by their places in two lists",
        ))  # fmt: skip

    def _swapped(self, base: Any) -> Intervention | None:
        """Return the exchange of inputs and targets in training; None unless both are images of one shape."""
        if not isinstance(base.train, Arrays) or base.train.x.shape != base.train.y.shape:
            return None
        return Intervention(
            "direction", "train", "training with inputs and targets exchanged",
            "the training goes from the targets to the inputs, unlike the validation",
            "exchange inputs and targets of the training data",
            lambda case: replace(case, train=replace(case.train, x=case.train.y, y=case.train.x)), MIN_SPLIT_GAIN,
        )  # fmt: skip

    def _replaced_parts(self) -> Certain | None:
        """Replace one part of the training at a time by a plain default, in trainings of at most its length.

        A part is tried further only if the first of these does better than the training itself. Learning rates are
        tried in short trainings, since another one helps many trainings a little.
        """
        base, trainings = self.case, self.trainings
        if base.validation is None or not base.trained:
            return None
        now = self.score(base.model, base.validation)
        twins = {steps: dict[int, Tensor]() for steps in (trainings.steps, trainings.most_steps)}
        if base.steps_planned in twins:
            twins[base.steps_planned][0] = now
        for part in replaced_parts(base):
            finding, least = part.finding, MIN_RATE_GAIN if part.general else MIN_PART_GAIN
            steps = trainings.steps if part.general else trainings.most_steps
            change = Intervention(
                finding.check, finding.path, part.remedy.does, finding.cause, finding.fix, part.apply, least
            )
            if not trainings.affords(change, 1, steps):
                continue
            try:
                trained = trainings.train(change.apply(base), 0, steps)
            except PellucidError as error:  # the change does not fit the networks
                self.untried[change.does] = str(error)
                continue
            first = effect_of(change, self.score.name, [(now, trained.scores)], 0)
            if first.verdict != "cause":
                trainings.note(replace(first, does=f"{change.does}, {steps} steps instead of the whole training"))
            elif (certain := trainings.measure(base, change, twins[steps], steps, trained)) is not None:
                return certain
        return None


def _have_near_copies(first: Source, second: Source, seed: int) -> bool:
    """Return whether many images of one half of the data are far nearer to some images of the other than to most.

    False if a class has too few images for that: images of a class may be alike without being copies.
    """
    if not (isinstance(first, Arrays) and isinstance(second, Arrays) and is_image(first.x)):
        return False
    groups = len(first.y.unique()) if first.y.dim() == 1 and not first.y.is_floating_point() else 4
    if len(first) < 2 * FAR_RANK * groups:
        return False
    *_, far_quotient = closeness(second.x, first.x, seed)
    return float((far_quotient < MAX_CLOSE_RATIO).double().mean()) >= MAX_CLOSE


def _changed_targets(part: str, other: TargetChange, min_gain: float = MIN_GAIN) -> Intervention:
    """Return an intervention in the targets of the validation data, or of the training data (part "train")."""
    does = f"{'training' if part == 'train' else part} with {other.does}"
    cause = f"the training or the validation data {other.cause}"
    fix = f"{other.fix}, in whichever of the training and validation data they do not fit the images"
    apply = partial(_with_targets, parts=(part,), apply=other.apply)
    return Intervention(other.name, part, does, cause, fix, apply, min_gain)


def _with_targets(case: Any, parts: Sequence[str], apply: Any) -> Any:
    """Return a case with other targets in these parts of its data."""
    return replace(case, **{part: with_targets(getattr(case, part), apply) for part in parts})
