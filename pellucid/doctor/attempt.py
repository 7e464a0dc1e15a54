"""What a remedy does, measured: the same short training without and with it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Remedy, UnansweredError
from pellucid.doctor.measure.answers import answers
from pellucid.doctor.measure.rehearsal import Rehearsal, Settings
from pellucid.doctor.measure.score import score

STEPS = 600  # at most, and no more than the training has
PATIENCE = 8.0  # seconds of the steps without a remedy


@dataclass(frozen=True)
class Attempt:
    """The loss and the accuracy on the same examples after the same number of steps, as it was and with the remedy.

    planned: the steps of the whole training, 0 where they are unknown. None stands for a training that broke, and for
    an accuracy where there are no classes. longer: how many times the steps were made with the remedy. score: what
    `measure.score` says of both. mended: the case with the remedy, with the model that came of it.
    """

    does: str
    steps: int
    loss: tuple[float | None, float | None]
    accuracy: tuple[float | None, float | None]
    measured_on: str
    planned: int = 0
    longer: float = 1.0
    score: tuple[float, float] = (0.0, 0.0)
    mended: Case | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the attempt as values of JSON."""
        return {
            "remedy": self.does,
            "steps": self.steps,
            "steps_with_the_remedy": round(self.steps * self.longer),
            "steps_of_the_training": self.planned or None,
            "measured_on": self.measured_on,
            "loss": {"before": self.loss[0], "after": self.loss[1]},
            "accuracy": {"before": self.accuracy[0], "after": self.accuracy[1]},
        }


class Attempts:
    """Tries remedies: trains shortly as the case is set and as a remedy would have it, with the same seed and order.

    Both are measured on what each holds out. As it is set, the case is trained only once, for as many of the steps as
    PATIENCE allows, and no longer than the training itself; the remedies get as many. Schedules are run through whole.
    """

    def __init__(self, case: Case, steps: int = STEPS) -> None:
        self.case = case
        self.steps = min(steps, case.steps_planned or steps)

    @cached_property
    def _before(self) -> Rehearsal:
        return self.case.rehearse(Settings(self.steps, seconds=PATIENCE, whole=True))

    @cached_property
    def _measured(self) -> tuple[float | None, float | None]:
        return _outcome(self.case, self._before)

    @property
    def as_set(self) -> Case:
        """The case with the model that its training leaves."""
        return replace(self.case, model=self._before.model, history=None, stopped="")

    @cached_property
    def score(self) -> float:
        """How good the training is as it is set."""
        return 0.0 if self._before.broke else judged(self.as_set)

    @property
    def whole(self) -> bool:
        """Whether that is all of the training."""
        return self.made == self.case.steps_planned

    @property
    def made(self) -> int:
        """The steps that are made without a remedy."""
        return len(self._before.losses) if self._before.late else self.steps

    def __call__(self, remedy: Remedy, longer: float = 1.0) -> Attempt:
        """Try a remedy, with `longer` times the steps."""
        case, made = self.case, self.made
        mended = remedy.apply(case)
        if longer > 1 and mended.epochs and mended.steps_planned < longer * case.steps_planned:
            mended = replace(mended, epochs=round(longer * case.epochs))  # what the schedule goes by
        done = mended.rehearse(Settings(max(round(made * longer), 1), seconds=max(longer, 2.0) * PATIENCE, whole=True))
        after = replace(mended, model=done.model)
        was, now = self._measured, _outcome(mended, done)
        scores = self.score, 0.0 if done.broke else judged(after)
        on = "train" if case.validation is None else "validation"
        return Attempt(
            remedy.does, made, (was[0], now[0]), (was[1], now[1]), on, case.steps_planned, longer, scores, after
        )  # fmt: skip


def attempter(case: Case, steps: int = STEPS) -> Callable[[Remedy], Attempt]:
    """Return what tries remedies of a case."""
    return Attempts(case, steps)


def judged(case: Case) -> float:
    """Return the score of the case's model on what is held out; 0 where it has none."""
    try:
        return score(case.model, case.held or case.sample, case.classifies)
    except UnansweredError:
        return 0.0


def _outcome(case: Case, done: Rehearsal) -> tuple[float | None, float | None]:
    if done.broke:
        return None, None
    try:
        found = answers(done.model, case.held or case.sample)
    except UnansweredError:  # finite weights, infinite outputs
        return None, None
    return found.loss, found.accuracy if case.classifies else None
