"""What a remedy does, measured: the same short training without and with it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Remedy, UnansweredError
from pellucid.doctor.measure.answers import answers
from pellucid.doctor.measure.rehearsal import Rehearsal, Settings

STEPS = 150  # enough to see a loss fall, a few seconds at most on small data
PATIENCE = 60.0  # seconds of the steps without a remedy


@dataclass(frozen=True)
class Attempt:
    """The loss and the accuracy on the same examples after the same number of steps, as it was and with the remedy.

    planned: the steps of the whole training, 0 where they are unknown. None stands for a training that broke, and for
    an accuracy where there are no classes.
    """

    does: str
    steps: int
    loss: tuple[float | None, float | None]
    accuracy: tuple[float | None, float | None]
    measured_on: str
    planned: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the attempt as values of JSON."""
        return {
            "remedy": self.does,
            "steps": self.steps,
            "steps_of_the_training": self.planned or None,
            "measured_on": self.measured_on,
            "loss": {"before": self.loss[0], "after": self.loss[1]},
            "accuracy": {"before": self.accuracy[0], "after": self.accuracy[1]},
        }


def attempter(case: Case, steps: int = STEPS) -> Callable[[Remedy], Attempt]:
    """Return what tries a remedy: trains shortly as the case is set and as the remedy would have it.

    Both are measured on what each holds out. As it is set, the case is trained only once, for as many of the steps as
    PATIENCE allows, and no longer than the training itself; the remedies get as many.
    """
    planned = case.steps_planned
    steps = min(steps, planned or steps)
    on = "train" if case.validation is None else "validation"

    @cache
    def before() -> Rehearsal:
        return case.rehearse(Settings(steps, seconds=PATIENCE))

    @cache
    def measured() -> tuple[float | None, float | None]:
        return _outcome(case, before())

    def try_out(remedy: Remedy) -> Attempt:
        made = len(before().losses) if before().late else steps
        mended = remedy.apply(case)
        was, now = measured(), _outcome(mended, mended.rehearse(Settings(made)))
        return Attempt(remedy.does, made, (was[0], now[0]), (was[1], now[1]), on, planned)

    return try_out


def _outcome(case: Case, done: Rehearsal) -> tuple[float | None, float | None]:
    if done.broke:
        return None, None
    try:
        found = answers(done.model, case.held or case.sample)
    except UnansweredError:  # finite weights, infinite outputs
        return None, None
    return found.loss, found.accuracy if case.classifies else None
