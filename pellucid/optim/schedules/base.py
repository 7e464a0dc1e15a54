"""The contract of every schedule: how the learning rate changes during a run."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

from pellucid.calls import Checked
from pellucid.errors import PellucidError

Memory = dict[str, float]  # what a schedule remembers between steps: plain numbers, kept in checkpoints

Unit = Literal["steps", "epochs", "run"]  # the run is the whole of it: 0.5 of a run is half way


@dataclass(frozen=True)
class Progress:
    """Where a run stands: `step` is the number of updates made so far, `steps` how many the whole run makes.

    `epoch_steps` is how many make an epoch.
    """

    step: int
    steps: int
    epoch_steps: int


@dataclass(frozen=True)
class Schedule(metaclass=Checked):
    """The factor, by step, that multiplies the optimizer's learning rate: a frozen value, hyperparameters only."""

    @property
    def watches(self) -> bool:
        """Whether it depends on the validation loss, so that there must be one."""
        return True

    @abstractmethod
    def begin(self) -> Memory:
        """Return what the schedule remembers at the start of a run: finite numbers, as checkpoints hold them."""

    @abstractmethod
    def factor(self, now: Progress, memory: Memory) -> float:
        """Return the factor for the update that comes after `now.step` others. Changes nothing."""

    @abstractmethod
    def observe(self, memory: Memory, loss: float) -> Memory:
        """Return what the schedule remembers after an epoch whose validation loss was `loss`."""


@dataclass(frozen=True)
class Plan(Schedule):
    """A schedule that the step alone decides: it remembers nothing, so a resumed run continues exactly."""

    @abstractmethod
    def at(self, now: Progress) -> float:
        """Return the factor for the update that comes after `now.step` others."""

    @property
    def watches(self) -> bool:
        """No."""
        return False

    def begin(self) -> Memory:
        """Return nothing."""
        return {}

    def factor(self, now: Progress, memory: Memory) -> float:
        """Return what `at` says."""
        return self.at(now)

    def observe(self, memory: Memory, loss: float) -> Memory:
        """Return nothing."""
        return {}


def length(unit: Unit, now: Progress) -> int:
    """Return how many steps a unit is."""
    return {"steps": 1, "epochs": now.epoch_steps, "run": now.steps}[unit]


def check_unit(schedule: object, unit: str) -> None:
    """Require a known unit."""
    if unit not in get_args(Unit):
        known = ", ".join(get_args(Unit))
        raise PellucidError(f"{type(schedule).__name__}: unit must be one of {known}, not {unit!r}")
