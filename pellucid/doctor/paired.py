"""Pairs of trainings of a case, without and with an intervention, within a limit of multiply-adds."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from statistics import fmean
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from pellucid.doctor.finding import Evidence, Finding
from pellucid.doctor.held_out import HeldOut
from pellucid.doctor.intervention import MAX_PAIRS, Intervention, MeasuredEffect, effect_of
from pellucid.doctor.rehearsal import RehearsalSettings, copied, moved, rehearse
from pellucid.doctor.remedies import with_values
from pellucid.doctor.trials import MAX_TOTAL_WORK
from pellucid.network.work import objective_work
from pellucid.task import Task
from pellucid.training.device import CPU
from pellucid.training.examples import first_batch
from pellucid.training.model import BaseModel

PARTS = 4  # a short training has 1 / PARTS of the steps of the training, within these limits:
MIN_STEPS, MAX_STEPS = 100, 400
MAX_COST = 6.0  # of all trainings together, relative to the training
SPENT = "the trainings before it used up their multiply-adds"


class Certain(NamedTuple):
    """An intervention that removed a cause. mended: the changed case with its model."""

    change: Intervention
    effect: MeasuredEffect
    mended: Any

    @property
    def finding(self) -> Finding:
        """The cause with the measured scores."""
        change, effect = self.change, self.effect
        evidence: Evidence = {
            "score_as_set": fmean(effect.before), "score_without_it": fmean(effect.after), "lowest_gain": effect.low,
            "highest_gain": effect.high, "examples": effect.examples,
        }  # fmt: skip
        return Finding(change.name, change.path, evidence, change.cause, change.fix, proven=True)

    def named(self, change: Intervention) -> Self:
        """Return the same effect with the name, the cause and the fix of another intervention."""
        return self._replace(change=change, effect=replace(self.effect, name=change.name))


class ScoredModel(NamedTuple):
    """A model after a training, and its scores on the validation data."""

    model: BaseModel
    scores: Tensor


class PairedTrainings:
    """Measures interventions on a case by pairs of trainings.

    Both trainings of a pair have the same first weights, seed, order of examples and number of steps, and all have a
    limit of multiply-adds. score: of a model on a part of the data. steps, most_steps: of a short training, and of one
    that is as long as the training itself, within MAX_STEPS. effects: what was measured. untried: why something was not
    tried. show: called with each effect in words.
    """

    def __init__(self, task: Task, case: Any, show: Callable[[str], object]) -> None:
        self.case, self.show, self.score = case, show, HeldOut(task, case)
        self.effects: list[MeasuredEffect] = []
        self.untried: dict[str, str] = {}
        self.most_steps = min(case.steps_planned or MAX_STEPS, MAX_STEPS)
        self.steps = min(self.most_steps, max(case.steps_planned // PARTS, MIN_STEPS))
        self._spent = 0.0  # multiply-adds

    @cached_property
    def _step_work(self) -> float:
        """The multiply-adds of a step."""
        case, shape = self.case, first_batch(self.case.train).images.shape[1:]
        return 3.0 * case.batch_size * objective_work(case.model.objective, case.model.params, shape)

    @cached_property
    def _limit(self) -> float:
        """The multiply-adds of all trainings together."""
        whole = self._step_work * self.case.steps_planned
        return min(MAX_COST * whole, MAX_TOTAL_WORK) if whole else MAX_TOTAL_WORK

    def affords(self, change: Intervention, trainings: int, steps: int) -> bool:
        """Spend the multiply-adds of some trainings, and return whether they are within the limit."""
        self._spent += trainings * steps * self._step_work
        if self._spent > self._limit:
            self.untried[change.does] = SPENT
        return self._spent <= self._limit

    def measure(
        self,
        base: Any,
        change: Intervention,
        twins: dict[int, Tensor],
        steps: int = 0,
        first: ScoredModel | None = None,
    ) -> Certain | None:
        """Measure an intervention by pairs of trainings of `steps` steps, by default short ones.

        twins: the scores of the base by pair, filled as needed. first: the changed training of the first pair.
        """
        steps = steps or self.steps
        changed, pairs, mended = change.apply(base), list[tuple[Tensor, Tensor]](), None
        effect: MeasuredEffect | None = None
        for k in range(MAX_PAIRS):
            if not self.affords(change, (k not in twins) + (k > 0 or first is None), steps):
                break
            if k not in twins:
                twins[k] = self.train(base, k, steps).scores
            trained = self.train(changed, k, steps) if k or first is None else first
            mended = mended or with_values(changed, {"model": trained.model, "history": None, "stopped": ""})
            pairs.append((twins[k], trained.scores))
            effect = effect_of(change, self.score.name, pairs, steps, self.effects)
            if effect.verdict != "unclear":
                break
        if effect is None:
            return None
        self.untried.pop(change.does, None)
        self.note(effect)
        return Certain(change, effect, mended) if effect.verdict == "cause" else None

    def train(self, case: Any, pair: int, steps: int) -> ScoredModel:
        """Train the model of a case from its beginning, with the seed of a pair."""
        model = copied(moved(case.begin(), case.device))
        model.seed += pair
        settings, size = RehearsalSettings(steps, compressed=True), min(case.batch_size, len(case.train))
        done = rehearse(model, case.train, size, case.augment, settings, self.case.steps_planned)
        model = moved(done.model, CPU)
        scores = self.score(model, case.validation)
        return ScoredModel(model, torch.zeros_like(scores) if done.broke else scores)

    def note(self, effect: MeasuredEffect) -> MeasuredEffect:
        """Keep an effect, and show it."""
        self.effects.append(effect)
        self.show(f"{effect.verdict}: {effect}")
        return effect
