"""Pairs of trainings of a case, one without and one with an intervention, within a limit of multiply-adds."""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import cached_property
from statistics import fmean
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from pellucid.doctor.attempts import too_few_steps
from pellucid.doctor.finding import Evidence, Finding, Suspect
from pellucid.doctor.held_out import HeldOutScorer
from pellucid.doctor.intervention import MAX_PAIRS, MeasuredEffect, effect_of
from pellucid.doctor.rehearsal import RehearsalSettings, model_on, rehearse, with_copied_weights
from pellucid.doctor.remedies import with_values
from pellucid.doctor.trials import MAX_TOTAL_WORK
from pellucid.network.work import objective_work
from pellucid.task import Task
from pellucid.training.device import CPU
from pellucid.training.examples import first_batch
from pellucid.training.model import BaseModel

SHORT_DIVISOR = 4  # a short training has 1 / SHORT_DIVISOR of the steps of the training, within the limits below
MIN_SHORT_STEPS, MAX_STEPS = 100, 400
DEFAULT_BUDGET = 6.0  # multiply-adds of all trainings together divided by those of the case's training
MIN_HELD_OUT = 8  # held-out examples on which a pair of trainings is scored; with fewer, a gain is chance
SPENT_REASON = "the trainings before it used up the budget; a larger one tries more"


class ProvenCause(NamedTuple):
    """An intervention that removed a cause, and its effect.

    mended_case: the changed case with the model that was trained on it.
    """

    change: Suspect
    effect: MeasuredEffect
    mended_case: Any

    @property
    def finding(self) -> Finding:
        """The cause as a finding, with the measured scores as evidence."""
        effect = self.effect
        evidence: Evidence = {
            "score_as_set": fmean(effect.before), "score_without_it": fmean(effect.after), "lowest_gain": effect.low,
            "highest_gain": effect.high, "examples": effect.examples,
        }  # fmt: skip
        return replace(self.change.finding, evidence=evidence, remedy=None, proven=True)

    def with_names_of(self, change: Suspect) -> Self:
        """Return the same effect with the name, the cause and the fix of another intervention."""
        return self._replace(change=change, effect=replace(self.effect, name=change.finding.check))


class ScoredModel(NamedTuple):
    """A model after a training, and its scores on the validation data."""

    model: BaseModel
    scores: Tensor


class PairedTrainings:
    """Measures interventions on a case by pairs of trainings.

    Both trainings of a pair have the same initial weights, seed, order of examples and number of steps. The
    multiply-adds of all trainings together are limited. score: returns the scores of a model on a part of the data.
    first_case: the case before any cause was removed. steps: the number of steps of a short training. max_steps: the
    number of steps of the first case's training, at most MAX_STEPS. model_steps: that of the case's model.
    budget: the limit of all trainings together, divided by the multiply-adds of the case's training; by default
    DEFAULT_BUDGET, and at most MAX_TOTAL_WORK multiply-adds. effects: the measured effects. untried: the reason why an
    intervention was not tried, by its description. show: called with a sentence about each effect.
    """

    def __init__(self, task: Task, case: Any, show: Callable[[str], object], budget: float | None = None) -> None:
        self.task, self.case, self.first_case, self.show, self.budget = task, case, case, show, budget
        self.score, self._spent = HeldOutScorer(task, case), 0.0
        self.effects: list[MeasuredEffect] = []
        self.untried: dict[str, str] = {}
        self.model_steps = case.steps_planned
        self.max_steps = min(case.steps_planned or MAX_STEPS, MAX_STEPS)
        self.steps = min(self.max_steps, max(case.steps_planned // SHORT_DIVISOR, MIN_SHORT_STEPS))

    def without_cause(self, cause: ProvenCause) -> "PairedTrainings":
        """Return the trainings of the case without a cause, with as many steps and with the rest of the budget."""
        trainings = copy(self)
        trainings.case, trainings.score = cause.mended_case, HeldOutScorer(self.task, cause.mended_case)
        trainings.effects, trainings.untried = [], {}
        trainings.model_steps = cause.effect.steps or self.model_steps  # 0 steps: without a training
        return trainings

    @cached_property
    def _step_work(self) -> float:
        """The multiply-adds of a step."""
        case, shape = self.first_case, first_batch(self.first_case.train).images.shape[1:]
        return 3.0 * case.batch_size * objective_work(case.model.objective, case.model.params, shape)

    @cached_property
    def _limit(self) -> float:
        """The limit for the multiply-adds of all trainings together."""
        work = self._step_work * self.first_case.steps_planned
        if not work:
            return MAX_TOTAL_WORK
        return min(DEFAULT_BUDGET * work, MAX_TOTAL_WORK) if self.budget is None else self.budget * work

    def spend(self, base: Any, change: Suspect, trainings: int, steps: int) -> bool:
        """Add the multiply-adds of some trainings to the total, and return whether it is within the limit.

        Trainings with too few steps or held-out examples prove nothing and are not made either. base: see `measure`.
        """
        examples = len(base.validation)
        too_few = f"could not be tried: too few held-out examples ({examples}, at least {MIN_HELD_OUT} are needed)"
        if reason := too_few_steps(steps) or (too_few if examples < MIN_HELD_OUT else ""):
            self.untried[change.remedy.description] = reason
            return False
        self._spent += trainings * steps * self._step_work
        if self._spent > self._limit:
            self.untried[change.remedy.description] = SPENT_REASON
        return self._spent <= self._limit

    def measure(
        self,
        base: Any,
        change: Suspect,
        base_scores: dict[int, Tensor],
        steps: int = 0,
        first_trained: ScoredModel | None = None,
    ) -> ProvenCause | None:
        """Measure an intervention by pairs of trainings; return the cause that it proves, or None.

        base: the case without the intervention. base_scores: its scores by pair; missing ones are computed and added.
        steps: the number of steps, by default that of a short training. first_trained: the result of the first pair's
        training with the intervention, if it has been made already.
        """
        steps = steps or self.steps
        changed_case, pairs, mended_case = change.apply(base), list[tuple[Tensor, Tensor]](), None
        effect: MeasuredEffect | None = None
        for k in range(MAX_PAIRS):
            if not self.spend(base, change, (k not in base_scores) + (k > 0 or first_trained is None), steps):
                break
            if k not in base_scores:
                base_scores[k] = self.train(base, k, steps).scores
            trained = self.train(changed_case, k, steps) if k or first_trained is None else first_trained
            mended_case = mended_case or with_values(
                changed_case, {"model": trained.model, "history": None, "stopped": ""}
            )
            pairs.append((base_scores[k], trained.scores))
            effect = effect_of(change, self.score.name, pairs, steps, self.effects)
            if effect.verdict != "unclear":
                break
        if effect is None:
            return None
        self.untried.pop(change.remedy.description, None)
        self.record(effect)
        return ProvenCause(change, effect, mended_case) if effect.verdict == "cause" else None

    def train(self, case: Any, pair: int, steps: int) -> ScoredModel:
        """Train the model of a case from its initial weights, with the seed of pair number `pair`."""
        model = with_copied_weights(model_on(case.begin(), case.device))
        model.seed += pair
        settings, size = RehearsalSettings(steps, compressed=True), min(case.batch_size, len(case.train))
        rehearsal = rehearse(model, case.train, size, case.augment, settings, self.first_case.steps_planned)
        model = model_on(rehearsal.model, CPU)
        scores = self.score(model, case.validation)
        return ScoredModel(model, torch.zeros_like(scores) if rehearsal.has_failed else scores)

    def record(self, effect: MeasuredEffect) -> MeasuredEffect:
        """Add an effect to `effects`, show it and return it."""
        self.effects.append(effect)
        self.show(f"{effect.verdict}: {effect}")
        return effect
