"""What a remedy does, measured: the same short training without and with it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Remedy, UnansweredError
from pellucid.doctor.measure.answers import answers
from pellucid.doctor.measure.rehearsal import Settings

STEPS = 150


@dataclass(frozen=True)
class Attempt:
    """The loss and the accuracy on the same examples after the same number of steps, as it was and with the remedy.

    None stands for a training that broke, and for an accuracy where there are no classes.
    """

    does: str
    steps: int
    loss: tuple[float | None, float | None]
    accuracy: tuple[float | None, float | None]
    measured_on: str

    def to_json(self) -> dict[str, Any]:
        """Return the attempt as values of JSON."""
        return {
            "remedy": self.does,
            "steps": self.steps,
            "measured_on": self.measured_on,
            "loss": {"before": self.loss[0], "after": self.loss[1]},
            "accuracy": {"before": self.accuracy[0], "after": self.accuracy[1]},
        }


def attempt(case: Case, remedy: Remedy, steps: int = STEPS) -> Attempt:
    """Train shortly as the case is set and as the remedy would have it, and measure both on what each holds out."""
    return attempter(case, steps)(remedy)


def attempter(case: Case, steps: int = STEPS) -> Callable[[Remedy], Attempt]:
    """Return `attempt` for several remedies of one case, which as it is set is trained only once."""
    on = "train" if case.validation is None else "validation"

    @cache
    def before() -> tuple[float | None, float | None]:
        return _outcome(case, steps)

    def try_out(remedy: Remedy) -> Attempt:
        was, mended = before(), _outcome(remedy.apply(case), steps)
        return Attempt(remedy.does, steps, (was[0], mended[0]), (was[1], mended[1]), on)

    return try_out


def _outcome(case: Case, steps: int) -> tuple[float | None, float | None]:
    done = case.rehearse(Settings(steps))
    if done.broke:
        return None, None
    try:
        found = answers(done.model, case.held or case.sample)
    except UnansweredError:  # finite weights, infinite outputs
        return None, None
    return found.loss, found.accuracy if case.classifies else None
