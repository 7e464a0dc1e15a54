"""Learning rate schedules: factors of the learning rate by step."""

import math
import sys
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Literal, get_args

from pellucid.calls import Checked
from pellucid.errors import PellucidError
from pellucid.optim.base import check_range

Memory = dict[str, float]  # state of a schedule between steps: plain numbers, saved in checkpoints

Unit = Literal["steps", "epochs", "run"]  # 0.5 of a "run" is half way


@dataclass(frozen=True)
class Progress:
    """The progress of a run: `step` updates made so far, of `steps` in the whole run and `epoch_steps` in an epoch."""

    step: int
    steps: int
    epoch_steps: int


@dataclass(frozen=True)
class Schedule(metaclass=Checked):
    """A factor of the optimizer's learning rate for each step: a frozen dataclass of hyperparameters."""

    @property
    def watches(self) -> bool:
        """Whether it depends on the validation loss, which is then required."""
        return True

    @abstractmethod
    def begin(self) -> Memory:
        """Return the schedule's state at the start of a run: finite numbers, saved in checkpoints."""

    @abstractmethod
    def factor(self, now: Progress, memory: Memory) -> float:
        """Return the factor for the update that comes after `now.step` others. Changes nothing."""

    @abstractmethod
    def observe(self, memory: Memory, loss: float) -> Memory:
        """Return the schedule's state after an epoch with the validation loss `loss`."""


@dataclass(frozen=True)
class Plan(Schedule):
    """A schedule that depends only on the step; without a state, a resumed run continues exactly."""

    @abstractmethod
    def at(self, now: Progress) -> float:
        """Return the factor for the update that comes after `now.step` others."""

    @property
    def watches(self) -> bool:
        """False: it does not depend on the validation loss."""
        return False

    def begin(self) -> Memory:
        """Return an empty state."""
        return {}

    def factor(self, now: Progress, memory: Memory) -> float:
        """Return `at(now)`."""
        return self.at(now)

    def observe(self, memory: Memory, loss: float) -> Memory:
        """Return an empty state."""
        return {}


def length(unit: Unit, now: Progress) -> int:
    """Return the number of steps in a unit."""
    return {"steps": 1, "epochs": now.epoch_steps, "run": now.steps}[unit]


def check_unit(schedule: object, unit: str) -> None:
    """Raise PellucidError for an unknown unit."""
    if unit not in get_args(Unit):
        known = ", ".join(get_args(Unit))
        raise PellucidError(f"{type(schedule).__name__}: unit must be one of {known}, not {unit!r}")


@dataclass(frozen=True)
class Constant(Plan):
    """The optimizer's own learning rate throughout: a factor of 1."""

    def at(self, now: Progress) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class InverseTime(Plan):
    """Decay with the inverse of time: t0 / (t + t1), t in `unit`; parts of a unit count.

    With t1 = t0 it begins at 1 and is 1/2 after t0.
    Source: Robbins and Monro 1951, whose conditions it meets; Bottou 2012, Stochastic gradient descent tricks, 5.2.
    """

    t0: float
    t1: float
    unit: Unit = "epochs"

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown unit or times that are not above 0."""
        check_range(self, open_low=True, t0=self.t0, t1=self.t1)
        check_unit(self, self.unit)

    def at(self, now: Progress) -> float:
        """Return t0 / (t + t1)."""
        return self.t0 / (now.step / length(self.unit, now) + self.t1)


@dataclass(frozen=True)
class Step(Plan):
    """Step decay: `drop` to the power of the number of drops, one after `every` units or one at each of `at_times`.

    Exactly one of `every` and `at_times` is given; drops fall on the nearest step. `Step(0.1, every=30)` drops to a
    tenth every 30 epochs, `Step(0.1, at_times=(0.5, 0.75), unit="run")` half way and at three quarters.
    Source: He et al. 2016, section 3.4.
    """

    drop: float = 0.1
    every: float | None = None
    at_times: tuple[float, ...] = ()
    unit: Unit = "epochs"

    def __post_init__(self) -> None:
        """Raise PellucidError for both or neither of `every` and `at_times`, or numbers that are not above 0."""
        check_range(self, open_low=True, drop=self.drop)
        check_unit(self, self.unit)
        if (self.every is None) == (not self.at_times):
            raise PellucidError("Step: give either every or at_times, so that it is known when the rate drops")
        check_range(self, open_low=True, **({} if self.every is None else {"every": self.every}))
        for time in self.at_times:
            check_range(self, at_times=time)

    def at(self, now: Progress) -> float:
        """Return drop ** (drops that are past)."""
        unit = length(self.unit, now)
        if self.every is not None:
            return self.drop ** (now.step // max(1, round(self.every * unit)))
        return self.drop ** sum(now.step >= round(time * unit) for time in self.at_times)


@dataclass(frozen=True)
class Cosine(Plan):
    """Cosine decay from 1 to m, the `minimum`, over the whole run: m + (1 - m) (1 + cos(π step / steps)) / 2.

    Source: Loshchilov and Hutter 2017, SGDR, equation 5, without restarts.
    """

    minimum: float = 0.0

    def __post_init__(self) -> None:
        """Raise PellucidError for a minimum outside [0, 1)."""
        check_range(self, high=1.0, minimum=self.minimum)

    def at(self, now: Progress) -> float:
        """Return the cosine's value; past the end, its minimum."""
        part = min(now.step / max(1, now.steps), 1.0)
        return self.minimum + (1 - self.minimum) * (1 + math.cos(math.pi * part)) / 2


@dataclass(frozen=True)
class OneCycle(Plan):
    """From 1/div_factor up to 1 in the first `pct_start` of the run, then down to 1/div_factor/final_div_factor.

    Both ways along half a cosine; the optimizer's learning rate is the peak. Names as in torch's OneCycleLR.
    Source: Smith and Topin 2018, Super-convergence.
    """

    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        """Raise PellucidError for a pct_start outside [0, 1) or factors below 1."""
        check_range(self, high=1.0, pct_start=self.pct_start)
        check_range(self, low=1.0, div_factor=self.div_factor, final_div_factor=self.final_div_factor)

    def at(self, now: Progress) -> float:
        """Return the factor; past the end, the last one."""
        first, last = 1 / self.div_factor, 1 / self.div_factor / self.final_div_factor
        peak = self.pct_start * now.steps - 1  # the last step of the rise
        if now.step < peak:
            return _anneal(first, 1.0, now.step / peak)
        return _anneal(1.0, last, min((now.step - peak) / (now.steps - 1 - peak), 1.0))


def _anneal(start: float, end: float, part: float) -> float:
    """Interpolate from `start` to `end` along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


@dataclass(frozen=True)
class Warmup(Schedule):
    """Linear warmup from `start` to 1 over `steps` steps; `then` another schedule, over the rest of the run.

    Source: Goyal et al. 2017, Accurate, large minibatch SGD, section 2.2.
    """

    steps: int
    then: Schedule = field(default_factory=Constant)
    start: float = 0.01

    def __post_init__(self) -> None:
        """Raise PellucidError for a number of steps below 1 or a start outside [0, 1)."""
        if type(self.steps) is not int or self.steps < 1:
            raise PellucidError(f"Warmup: steps must be a whole number of at least 1, not {self.steps!r}")
        check_range(self, high=1.0, start=self.start)

    @property
    def watches(self) -> bool:
        """Whether `then` depends on the validation loss."""
        return self.then.watches

    def begin(self) -> Memory:
        """Return the state of `then`."""
        return self.then.begin()

    def factor(self, now: Progress, memory: Memory) -> float:
        """Return the factor of the warmup, and after it that of `then` in the rest of the run."""
        if now.step < self.steps:
            return self.start + (1 - self.start) * now.step / self.steps
        return self.then.factor(Progress(now.step - self.steps, now.steps - self.steps, now.epoch_steps), memory)

    def observe(self, memory: Memory, loss: float) -> Memory:
        """Return the state of `then` after the epoch."""
        return self.then.observe(memory, loss)


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """Multiply the rate by `drop` when the validation loss has not improved for more than `patience` epochs.

    To improve is to fall below the best so far times 1 - `threshold`. After a drop, `cooldown` epochs do not count.
    The factor never falls below `minimum`. As torch's ReduceLROnPlateau in mode min, threshold rel.
    """

    drop: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    minimum: float = 0.0

    def __post_init__(self) -> None:
        """Raise PellucidError for numbers below 0, or a drop that is not between 0 and 1."""
        check_range(self, high=1.0, open_low=True, drop=self.drop)
        check_range(self, high=1.0, threshold=self.threshold, minimum=self.minimum)
        for name, epochs in (("patience", self.patience), ("cooldown", self.cooldown)):
            if type(epochs) is not int or epochs < 0:
                raise PellucidError(f"ReduceOnPlateau: {name} must be a whole number of at least 0, not {epochs!r}")

    def begin(self) -> Memory:
        """Return a factor of 1, no bad epochs, and as the best loss the largest number (infinity is no JSON)."""
        return {"factor": 1.0, "best": sys.float_info.max, "bad": 0, "cooling": 0}

    def factor(self, now: Progress, memory: Memory) -> float:
        """Return the factor after the drops so far."""
        return memory["factor"]

    def observe(self, memory: Memory, loss: float) -> Memory:
        """Count bad epochs, and drop after too many; a loss of NaN is not an improvement."""
        factor, best, bad, cooling = memory["factor"], memory["best"], memory["bad"], memory["cooling"]
        if loss < best * (1 - self.threshold):
            best, bad = loss, 0
        else:
            bad += 1
        if cooling > 0:
            cooling, bad = cooling - 1, 0
        if bad > self.patience:
            factor, bad, cooling = max(factor * self.drop, self.minimum), 0, self.cooldown
        return {"factor": factor, "best": best, "bad": bad, "cooling": cooling}


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "inverse_time": InverseTime,
    "step": Step,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "warmup": Warmup,
    "reduce_on_plateau": ReduceOnPlateau,
}
