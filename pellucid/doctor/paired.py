"""Pairs of trainings of a case, one without and one with an intervention, within a limit of multiply-adds."""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import cached_property
from statistics import fmean
from typing import NamedTuple, Self

import torch
from torch import Tensor

from pellucid.data.source import Arrays
from pellucid.doctor.finding import Evidence, Finding, Remedy, Suspect
from pellucid.doctor.held_out import HeldOutScorer
from pellucid.doctor.intervention import MAX_PAIRS, MeasuredEffect, effect_of
from pellucid.doctor.rehearsal import RehearsalSettings, model_on, rehearse, step_work, with_copied_weights
from pellucid.doctor.remedies import with_trained
from pellucid.doctor.training_case import TrainingCase, optional_fields, validation_of
from pellucid.task import Task
from pellucid.training.device import CPU
from pellucid.training.model import BaseModel

SHORT_DIVISOR = 4  # a short training has 1 / SHORT_DIVISOR of the steps of the training, within the limits below
MIN_SHORT_STEPS, MAX_STEPS = 100, 400
DEFAULT_BUDGET = 6.0  # multiply-adds of all trainings together divided by those of the case's training

N_RESERVED_PAIRS = 2  # of the trainings that come last; fewer hardly prove an effect
MAX_TOTAL_WORK = 1.6e12  # multiply-adds of all trainings together, unless a budget is given
STEP_OVERHEAD = 1e7  # multiply-adds that take about as long as everything else in a step, of networks of any size
MIN_PROOF_STEPS = 10  # of a training; the first steps differ by chance and by warmup
# Held-out examples on which a pair of trainings is scored, and maps of many pixels; with fewer, a gain is chance.
MIN_HELD_OUT, MIN_HELD_OUT_MAPS = 8, 5


class ProvenCause(NamedTuple):
    """An intervention that removed a cause, and its effect.

    mended_case: the changed case with the model that was trained on it.
    """

    suspect: Suspect
    effect: MeasuredEffect
    mended_case: TrainingCase

    @property
    def finding(self) -> Finding:
        """The cause as a finding, with the measured scores as evidence."""
        effect = self.effect
        evidence: Evidence = {
            **self.suspect.finding.evidence, "score_as_set": fmean(effect.before),
            "score_without_it": fmean(effect.after), "lowest_gain": effect.low, "highest_gain": effect.high,
            "held_out_examples": effect.examples,
        }  # fmt: skip
        return replace(self.suspect.finding, evidence=evidence, remedy=None, proven=True)

    def with_finding(self, finding: Finding) -> Self:
        """Return the same effect with another finding, whose remedy is the same intervention."""
        return self.with_names_of(replace(self.suspect, finding=replace(finding, remedy=self.suspect.remedy)))

    def with_names_of(self, suspect: Suspect) -> Self:
        """Return the same effect with the name, the cause and the fix of another intervention."""
        return self._replace(suspect=suspect, effect=replace(self.effect, name=suspect.finding.check))


class ScoredModel(NamedTuple):
    """A model after a training, and its scores on the validation data."""

    model: BaseModel
    scores: Tensor


class PairedTrainings:
    """Measures interventions on a case by pairs of trainings.

    Both trainings of a pair have the same initial weights, seed, order of examples and number of steps. The
    multiply-adds of all trainings together are limited. score: returns the scores of a model on a part of the data.
    first_case: the case before any cause was removed. steps: the number of steps of a short training. max_steps: the
    number of steps of the first case's training, at most MAX_STEPS. model_steps: that of the case's model. budget: the
    limit of all trainings together, divided by the multiply-adds of the case's training. Without one, the limit is
    default_budget, and at most MAX_TOTAL_WORK multiply-adds. effects: the measured effects. unclear: interventions of
    which they prove nothing, since they are unclear. untried: why something was not tried, by the key of the remedy or
    the experiment. show: called with a sentence about each effect.
    """

    def __init__(
        self, task: Task, case: TrainingCase, show: Callable[[str], object], budget: float | None = None
    ) -> None:  # fmt: skip
        self.task, self.case, self.first_case, self.show, self.budget = task, case, case, show, budget
        self.score, self._spent = HeldOutScorer(task, case), 0.0
        self.default_budget = DEFAULT_BUDGET
        self.effects: list[MeasuredEffect] = []
        self.unclear: list[ProvenCause] = []
        self.untried: dict[str, str] = {}
        to_repeat = optional_fields(case).steps_to_repeat
        self.model_steps = self._first_steps = case.steps_planned if to_repeat is None else to_repeat
        self.max_steps = min(self.model_steps or MAX_STEPS, MAX_STEPS)
        self.steps = min(self.max_steps, max(self.model_steps // SHORT_DIVISOR, MIN_SHORT_STEPS))

    def without_cause(self, cause: ProvenCause) -> "PairedTrainings":
        """Return the trainings of the case without a cause, with as many steps and with the rest of the budget."""
        trainings = copy(self)
        trainings.case, trainings.score = cause.mended_case, HeldOutScorer(self.task, cause.mended_case)
        trainings.effects, trainings.unclear, trainings.untried = [], [], {}
        trainings.model_steps = cause.effect.steps or self.model_steps  # 0 steps: without a training
        return trainings

    def scored_by(self, score: HeldOutScorer) -> "PairedTrainings":
        """Return the trainings with another score and the rest of the budget; unclear interventions are not kept."""
        trainings = copy(self)
        trainings.score, trainings.unclear = score, []
        return trainings

    @cached_property
    def _first_work(self) -> float:
        """The multiply-adds of a step of the first case."""
        case = self.first_case
        return STEP_OVERHEAD + step_work(case.model, case.train, case.batch_size)

    def _work(self, case: TrainingCase) -> float:
        """Return the multiply-adds of a step of a case, counted anew only for other networks or batches."""
        nets, first_nets = case.model.objective.nets, self.first_case.model.objective.nets
        if case.batch_size == self.first_case.batch_size and all(net is first_nets[name] for name, net in nets.items()):
            return self._first_work
        return STEP_OVERHEAD + step_work(case.model, case.train, case.batch_size)

    @property
    def _limit(self) -> float:
        """The limit for the multiply-adds of all trainings together."""
        work = self._first_work * self._first_steps
        if not work:
            return MAX_TOTAL_WORK * (1 if self.budget is None else self.budget / DEFAULT_BUDGET)
        return min(self.default_budget * work, MAX_TOTAL_WORK) if self.budget is None else self.budget * work

    def proves_nothing(self, base: TrainingCase, remedy: Remedy, steps: int) -> bool:
        """Return whether there are too few steps or held-out examples, and add this reason to `untried`.

        base: see `measure`.
        """
        validation = validation_of(base)
        has_maps = isinstance(validation, Arrays) and validation.y.dim() > 2
        for name, count, minimum in (
            ("steps", steps, MIN_PROOF_STEPS),
            ("held-out examples", len(validation), MIN_HELD_OUT_MAPS if has_maps else MIN_HELD_OUT),
        ):
            if count < minimum:
                self.untried[remedy.key] = (
                    f"could not be tried: too few {name} ({count}, at least {minimum} are needed)"
                )
                return True
        return False

    def reserve(self, *trainings: tuple[TrainingCase, int]) -> None:
        """Add the multiply-adds of trainings to the default budget, whose sum stays limited; trainings: see `spend`."""
        if first_work := self._first_work * self._first_steps:
            self.default_budget += sum(steps * self._work(case) for case, steps in trainings) / first_work

    def spend(self, remedy: Remedy, *trainings: tuple[TrainingCase, int]) -> bool:
        """Return whether trainings are within the limit, and add their multiply-adds to the total if they are.

        remedy: for which a reason is added to `untried` if they are not. trainings: the case and the number of steps of
        each.
        """
        work = sum(steps * self._work(case) for case, steps in trainings)
        if self._spent + work > self._limit:
            self.untried[remedy.key] = "not within the rest of the budget; a larger one tries more"
            return False
        self._spent += work
        return True

    def measure(
        self,
        base: TrainingCase,
        suspect: Suspect,
        base_scores: dict[int, Tensor],
        steps: int = 0,
        first_trained: ScoredModel | None = None,
        changed_steps: int = 0,
    ) -> ProvenCause | None:
        """Measure an intervention by pairs of trainings; return the cause that it proves, or None.

        base: the case without the intervention. base_scores: its scores by pair; missing ones are computed and added.
        steps: the number of steps, by default that of a short training. first_trained: the result of the first pair's
        training with the intervention, if it has been made already. changed_steps: the number of steps with the
        intervention, by default as many.
        """
        steps, remedy = steps or self.steps, suspect.remedy
        changed_steps = changed_steps or steps
        if self.proves_nothing(base, remedy, changed_steps):
            return None
        changed_case, pairs = suspect.apply(base), list[tuple[Tensor, Tensor]]()
        mended_case: TrainingCase | None = None
        effect: MeasuredEffect | None = None
        for k in range(MAX_PAIRS):
            trained = None if k else first_trained
            needed_trainings = [] if k in base_scores else [(base, steps)]
            needed_trainings += [] if trained else [(changed_case, changed_steps)]
            if not self.spend(remedy, *needed_trainings):
                break
            if k not in base_scores:
                base_scores[k] = self.train(base, k, steps).scores
            trained = trained or self.train(changed_case, k, changed_steps)
            mended_case = mended_case or with_trained(changed_case, trained.model)
            pairs.append((base_scores[k], trained.scores))
            effect = effect_of(suspect, self.score.name, pairs, steps, self.effects)
            if effect.verdict != "unclear" or fmean(effect.gains) < suspect.min_gain:
                break  # it is certain, or more pairs would hardly prove a cause
        if effect is None or mended_case is None:
            return None
        self.untried.pop(remedy.key, None)
        self.record(effect)
        measured = ProvenCause(suspect, effect, mended_case)
        if effect.verdict == "unclear":
            self.unclear.append(measured)
        return measured if effect.verdict == "cause" else None

    def train(self, case: TrainingCase, pair: int, steps: int) -> ScoredModel:
        """Train the model of a case from its initial weights, with the seed of pair number `pair`."""
        model = with_copied_weights(model_on(case.begin(), case.device))
        model.seed += pair
        planned = max(self.first_case.steps_planned, steps)
        scheduled = min(max(self._first_steps, steps), planned)  # fewer than planned after an early end
        settings = RehearsalSettings(steps, compressed=True, fraction=scheduled / planned)
        rehearsal = rehearse(model, case.train, case.batch_size, case.augment, settings, planned)
        model = model_on(rehearsal.model, CPU)
        scores = self.score(model, validation_of(case))
        return ScoredModel(model, torch.zeros_like(scores) if rehearsal.has_failed else scores)

    def record(self, effect: MeasuredEffect) -> MeasuredEffect:
        """Add an effect to `effects`, show it and return it."""
        self.effects.append(effect)
        self.show(f"{effect.verdict}: {effect}")
        return effect
