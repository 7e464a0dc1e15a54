"""Experiments: interventions on a case in the order of their cost, until one of them is certainly a cause."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cached_property, partial
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.data.changed_targets import with_targets
from pellucid.data.dataset import float_images
from pellucid.data.seeds import generator
from pellucid.data.source import Arrays, Source
from pellucid.doctor.checks import CHECKS
from pellucid.doctor.checks.leakage import MAX_CLOSE, MAX_CLOSE_RATIO
from pellucid.doctor.diagnosis import Diagnosis
from pellucid.doctor.examination import examine
from pellucid.doctor.finding import Finding
from pellucid.doctor.held_out import HeldOut, outputs_for, read_examples
from pellucid.doctor.inputs import FAR_RANK, closeness, is_image
from pellucid.doctor.intervention import MAX_PAIRS, Intervention, MeasuredEffect, effect_of
from pellucid.doctor.prepared import input_changes
from pellucid.doctor.rehearsal import RehearsalSettings, copied, moved, rehearse
from pellucid.doctor.trials import MAX_TOTAL_WORK
from pellucid.errors import PellucidError
from pellucid.network.work import objective_work
from pellucid.task import TargetChange, Task
from pellucid.training.device import CPU
from pellucid.training.examples import first_batch, split, subset
from pellucid.training.model import BaseModel

PARTS = 4  # a short training has 1 / PARTS of the steps of the training, within these limits:
MIN_STEPS, MAX_STEPS = 100, 400
MAX_COST = 6.0  # of all short trainings together, relative to the training
MIN_GAP = 0.1  # of the score on training data over that on validation data, from which on they are compared
MIN_SPLIT_GAIN = 0.15  # of training on validation data instead of training data
MIN_EXAMPLES = 20  # in each half of the validation data
N_EXAMINED = 48  # training images that suggest other targets
HELD_OUT = 0.25  # fraction of the training data that is held out if there are no validation data

CROSS_FIT = "training on validation data"


class Certain(NamedTuple):
    """An intervention that removed a cause. mended: the changed case with its model."""

    change: Intervention
    effect: MeasuredEffect
    mended: Any


def with_causes(found: Diagnosis, task: Task, case: Any, show: Callable[[str], object] | None = None) -> Diagnosis:
    """Return a diagnosis with the cause that an intervention removes, if none is proven yet, and all effects.

    Findings that the mended case no longer has become consequences of the cause. case: a Case, or another one with
    model, trained, train, validation, begin, batch_size, steps_planned, augment and device; for other cases, nothing is
    tried. show: called with each effect in words.
    """
    is_known = hasattr(case, "steps_planned") and not getattr(case, "stopped", "")
    if not is_known or any(finding.proven for finding in found.findings):
        return found
    if not getattr(case, "has_trials", True):
        return replace(
            found, left_out={**found.left_out, "experiments": "there is no score for the quality of a sample"}
        )
    experiments = Experiments(task, case, show or (lambda line: None))
    certain = experiments.run()
    effects, left_out = tuple(experiments.effects), {**found.left_out, **experiments.untried}
    if certain is not None:
        found = _merged(found, certain, task)
        effects = certain.effect, *(effect for effect in effects if effect.does != certain.effect.does)
    return replace(found, effects=effects, left_out=left_out)


def _merged(found: Diagnosis, certain: Certain, task: Task) -> Diagnosis:
    """Return the diagnosis with a cause first, and as its consequences the findings that the mended case lacks."""
    change, effect = certain.change, certain.effect
    evidence = {
        "score_as_set": fmean(effect.before), "score_without_it": fmean(effect.after), "lowest_gain": effect.low,
        "highest_gain": effect.high, "examples": effect.examples,
    }  # fmt: skip
    cause = Finding(change.name, change.path, evidence, change.cause, change.fix, proven=True)
    kept = [k for k, finding in enumerate(found.findings) if finding.check != change.name]
    places = {old: new for new, old in enumerate(kept, 1)}
    gone = set[int]()
    if kept:  # without other findings, no check is repeated
        again = task.diagnose(certain.mended, False, CPU) or examine(certain.mended, CHECKS)
        absent = {*again.checks} - {*again.names}
        gone = {places[k] for k in kept if found.findings[k].check in absent}
    follows = {places[k]: name for k, name in found.follows.items() if k in places}
    follows |= dict.fromkeys(gone, change.name)
    return replace(
        found,
        findings=(cause, *(found.findings[k] for k in kept)),
        follows=follows,
        attempts={places[k]: attempt for k, attempt in found.attempts.items() if k in places},
        symptoms=frozenset({places[k] for k in found.symptoms if k in places} - gone),
        gone=frozenset(gone | {places[k] for k in found.gone if k in places}),
    )


class Experiments:
    """Measures interventions on a case: cheap evaluations of the present model, then pairs of short trainings.

    Both trainings of a pair have the same first weights, seed, order of examples and number of steps, and all have a
    limit of multiply-adds. effects: what was measured. untried: why something was not tried. show: see `with_causes`.
    """

    def __init__(self, task: Task, case: Any, show: Callable[[str], object]) -> None:
        self.task, self.case, self.show = task, case, show
        self.score = HeldOut(task, case)
        self.effects: list[MeasuredEffect] = []
        self.untried: dict[str, str] = {}
        self._spent = 0.0  # multiply-adds
        planned = case.steps_planned
        self.steps = min(planned or MAX_STEPS, max(planned // PARTS, MIN_STEPS), MAX_STEPS)

    def run(self) -> Certain | None:
        """Return the first intervention that is certainly a cause, None if there is none."""
        looks = {"validation data read otherwise": self._evaluations}
        if getattr(self.case, "trainable", True) and self.case.steps_planned:
            looks |= {"other targets": self._suggestions, CROSS_FIT: self._cross_fit}
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
    def _work(self) -> float:
        """The multiply-adds of a short training."""
        case, shape = self.case, first_batch(self.case.train).images.shape[1:]
        return 3.0 * self.steps * case.batch_size * objective_work(case.model.objective, case.model.params, shape)

    @cached_property
    def _limit(self) -> float:
        """The multiply-adds of all short trainings together."""
        whole = self._work / self.steps * self.case.steps_planned
        return min(MAX_COST * whole, MAX_TOTAL_WORK) if whole else MAX_TOTAL_WORK

    @cached_property
    def _gap(self) -> float:
        """The score on training data minus that on validation data; 0 without validation data or a trained model."""
        model, validation = self.case.model, self.case.validation
        if validation is None or not self.case.trained:
            return 0.0
        return float(self.score(model, self.case.train).mean() - self.score(model, validation).mean())

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
            effect = self._noted(effect_of(change, self.score.name, [pair], 0))
            if effect.verdict == "cause":
                certain.append(Certain(change, effect, change.apply(self.case)))
        return max(certain, key=lambda one: one.effect.after, default=None)

    def _other_targets(self, part: Source, predict: bool) -> Sequence[TargetChange]:
        """Return the task's changes of targets for some examples; predict: by the model's outputs for them."""
        model, examples = self.case.model, read_examples(part, N_EXAMINED, self.case.model.seed)
        images, targets = [one.images[0] for one in examples], [one.targets[0] for one in examples]
        return self.task.target_changes(model, images, targets, outputs_for(model, examples) if predict else None)

    def _target_changes(self, part: Source) -> list[Intervention]:
        return [
            Intervention(
                change.name, "validation", f"validation with {change.does}", f"the validation data {change.cause}",
                f"{change.fix}, in whichever of the training and validation data they do not fit the images",
                lambda case, change=change: replace(case, validation=with_targets(case.validation, change.apply)),
            )
            for change in self._other_targets(part, True)
        ]  # fmt: skip

    def _input_changes(self) -> list[Intervention]:
        """Return changes of the validation images; those that move pixels only for targets without positions."""
        train, validation = self.case.train, self.case.validation
        if not (isinstance(train, Arrays) and isinstance(validation, Arrays)) or train.x.dim() != 4:
            return []
        found = input_changes(validation.x, train.x[:MAX_STEPS], self.case.model.stats)
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
        """Train with the other targets that training images suggest, in training and validation data alike."""
        base, twins = self.case, dict[int, Tensor]()
        if base.validation is None:
            train, validation = split(base.train, HELD_OUT, base.model.seed)
            base = replace(base, train=train, validation=validation)
        for other in self._other_targets(base.train, False):
            cause, apply = f"the targets {other.cause}", partial(_with_both, apply=other.apply)
            change = Intervention(other.name, "train", other.does, cause, other.fix, apply)
            if (certain := self._measured(base, change, twins)) is not None:
                return certain
        return None

    def _cross_fit(self) -> Certain | None:
        """Train on half of the validation data and on as many training data; score both on the other half."""
        if self._gap < MIN_GAP:
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
        return self._measured(base, change, {})

    def _measured(self, base: Any, change: Intervention, twins: dict[int, Tensor]) -> Certain | None:
        """Measure an intervention by pairs of trainings; twins: the scores of the base by pair, filled as needed."""
        changed, pairs, mended = change.apply(base), list[tuple[Tensor, Tensor]](), None
        effect: MeasuredEffect | None = None
        for k in range(MAX_PAIRS):
            self._spent += self._work * (1 + (k not in twins))
            if self._spent > self._limit:
                break
            if k not in twins:
                twins[k] = self._trained(base, k)[1]
            model, after = self._trained(changed, k)
            mended = mended or _with_model(changed, model)
            pairs.append((twins[k], after))
            effect = effect_of(change, self.score.name, pairs, self.steps)
            if effect.verdict != "unclear":
                break
        if effect is None:
            self.untried[change.does] = "the trainings before it used up their multiply-adds"
            return None
        self._noted(effect)
        return Certain(change, effect, mended) if effect.verdict == "cause" else None

    def _trained(self, case: Any, pair: int) -> tuple[BaseModel, Tensor]:
        """Return the model of a short training of a case, and its scores on the validation data."""
        model = copied(moved(case.begin(), case.device))
        model.seed += pair
        settings, size = RehearsalSettings(self.steps, compressed=True), min(case.batch_size, len(case.train))
        done = rehearse(model, case.train, size, case.augment, settings, self.case.steps_planned)
        model = moved(done.model, CPU)
        scores = self.score(model, case.validation)
        return model, torch.zeros_like(scores) if done.broke else scores

    def _noted(self, effect: MeasuredEffect) -> MeasuredEffect:
        self.effects.append(effect)
        self.show(f"{effect.verdict}: {effect}")
        return effect


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


def _with_both(case: Any, apply: Any) -> Any:
    return replace(case, train=with_targets(case.train, apply), validation=with_targets(case.validation, apply))


def _with_model(case: Any, model: BaseModel) -> Any:
    """Return a case with a newly trained model, whose history is unknown."""
    unknown = {"history": None, "stopped": ""}
    named = {field.name for field in fields(case)}
    return replace(case, model=model, **{name: value for name, value in unknown.items() if name in named})
