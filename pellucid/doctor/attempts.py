"""Trials of remedies: the same training for some hundred steps, with and without one remedy."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Remedy, Suspect
from pellucid.doctor.predictions import UnansweredError, predictions
from pellucid.doctor.rehearsal import Rehearsal, RehearsalSettings, example_work
from pellucid.errors import PellucidError
from pellucid.training.model import BaseModel

MAX_STEPS = 600  # of the trial without a remedy, which never has more steps than the training either
MAX_BASELINE_WORK = 3.2e11  # multiply-adds, for the trial without a remedy
MIN_SCORED_EXAMPLES = 20  # for which the score is computed; with fewer, no remedy is tried
MIN_PROOF_STEPS = 10  # of a training with a remedy; the first steps of a training differ by chance and by warmup


@dataclass(frozen=True)
class Attempt:
    """The loss and the accuracy on the same examples after the same number of steps, without and with a remedy.

    description: of the remedy. loss, accuracy: without and with the remedy; None for a training that stopped with NaN
    or an error; accuracy is also None for a regression. measured_on: "train" or "validation". steps_planned:
    the number of steps of the whole training, 0 if unknown. step_factor: the number of steps with the remedy divided
    by the number without it. score: `Predictions.score` without and with the remedy. mended_case: the case to which
    the remedy was applied, with its trained model.
    """

    description: str
    steps: int
    loss: tuple[float | None, float | None]
    accuracy: tuple[float | None, float | None]
    measured_on: str
    steps_planned: int = 0
    step_factor: float = 1.0
    score: tuple[float, float] = (0.0, 0.0)
    mended_case: Case | None = field(default=None, repr=False, compare=False)

    @property
    def gain(self) -> float:
        """The increase of the score by the remedy."""
        return self.score[1] - self.score[0]

    def to_json(self) -> dict[str, Any]:
        """Return the attempt as JSON values."""
        return {
            "remedy": self.description,
            "steps": self.steps,
            "steps_with_the_remedy": round(self.steps * self.step_factor),
            "steps_of_the_training": self.steps_planned or None,
            "measured_on": self.measured_on,
            "loss": {"before": self.loss[0], "after": self.loss[1]},
            "accuracy": {"before": self.accuracy[0], "after": self.accuracy[1]},
        }


class Attempts:
    """Tries remedies: compares short trainings with and without a remedy, with the same seed and order of examples.

    Both are scored on the validation data, or on the training data if there are none. The trial without a remedy, the
    baseline, runs only once. Its number of steps is limited by MAX_BASELINE_WORK and by the steps of the training; a
    trial with a remedy has the same number of steps. Schedules are compressed into these steps.
    """

    def __init__(self, case: Case, steps: int = MAX_STEPS) -> None:
        self.case = case
        self.steps = min(steps, case.steps_planned or steps)
        self.work = 0.0

    @cached_property
    def _baseline(self) -> Rehearsal:
        return self._rehearse(self.case, RehearsalSettings(self.steps, work=MAX_BASELINE_WORK, compressed=True))

    def _rehearse(self, case: Case, settings: RehearsalSettings) -> Rehearsal:
        """Rehearse a case; add to `work` the multiply-adds of its steps and of the two predictions for its score."""
        rehearsal, scored = case.rehearse(settings), case.scored_sample
        self.work += rehearsal.work + 2 * len(scored) * example_work(rehearsal.model, scored)
        return rehearsal

    @cached_property
    def _baseline_result(self) -> "TrialResult":
        return result_of(self.case, self._baseline.model, self._baseline.has_failed)

    @property
    def baseline_case(self) -> Case:
        """The case with the model that was trained in the trial without a remedy."""
        return replace(self.case, model=self._baseline.model, history=None, stopped="")

    @property
    def score(self) -> float:
        """The score of the trial without a remedy."""
        return self._baseline_result.score

    @property
    def is_complete(self) -> bool:
        """Whether the trial without a remedy has as many steps as the training."""
        return self.steps_made == self.case.steps_planned

    @property
    def steps_made(self) -> int:
        """The number of steps of the trial without a remedy."""
        return len(self._baseline.losses) if self._baseline.shortened else self.steps

    def too_few_steps(self, step_factor: float = 1.0) -> str:
        """Return why a remedy cannot be tried for `step_factor` times the steps of the trial; "" if it can."""
        return too_few_steps(round(self.steps_made * step_factor))

    def without(self, suspect: Suspect) -> Attempt | None:
        """Try the remedy of a suspect, and return the comparison; None if it does not fit the network."""
        try:
            return self(suspect.remedy, suspect.step_factor)
        except PellucidError:
            return None

    def __call__(self, remedy: Remedy, step_factor: float = 1.0) -> Attempt:
        """Try a remedy for `step_factor` times the steps of the trial without it, and return the comparison."""
        case, steps_made = self.case, self.steps_made
        mended_case = remedy.apply(case)
        if step_factor > 1 and mended_case.epochs and mended_case.steps_planned < step_factor * case.steps_planned:
            mended_case = replace(mended_case, epochs=round(step_factor * case.epochs))  # the length of the schedule
        work = max(step_factor, 2.0) * MAX_BASELINE_WORK
        rehearsal = self._rehearse(
            mended_case, RehearsalSettings(max(round(steps_made * step_factor), 1), work=work, compressed=True)
        )
        before, after = self._baseline_result, result_of(mended_case, rehearsal.model, rehearsal.has_failed)
        return Attempt(
            remedy.description, steps_made, (before.loss, after.loss), (before.accuracy, after.accuracy),
            "train" if case.validation is None else "validation", case.steps_planned, step_factor,
            (before.score, after.score), replace(mended_case, model=rehearsal.model),
        )  # fmt: skip


def too_few_steps(steps: int) -> str:
    """Return why a training of this number of steps proves nothing; "" if it may."""
    reason = f"could not be tried: too few steps ({steps}, at least {MIN_PROOF_STEPS} are needed)"
    return "" if steps >= MIN_PROOF_STEPS else reason


class TrialResult(NamedTuple):
    """The loss, the accuracy and the score of a model; None, None and 0 without finite outputs.

    The accuracy is None for a regression, too.
    """

    loss: float | None
    accuracy: float | None
    score: float


def result_of(case: Case, model: BaseModel, has_failed: bool = False) -> TrialResult:
    """Return the result of a model on the validation sample of a case, or else on its training sample."""
    try:
        predicted = None if has_failed else predictions(model, case.scored_sample)
    except UnansweredError:  # finite weights, infinite outputs
        predicted = None
    if predicted is None:
        return TrialResult(None, None, 0.0)
    return TrialResult(
        predicted.loss, predicted.accuracy if case.classifies else None, predicted.score(case.classifies)
    )
