"""Learning rate schedules: factors of the learning rate by step."""

import math
import sys
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Literal, get_args

from pellucid.base.errors import PellucidError
from pellucid.base.settings.arguments import Checked
from pellucid.base.settings.checks import check_choice, check_range, check_whole

Memory = dict[str, float]  # state of a schedule between epochs: numbers, saved in checkpoints

Unit = Literal["steps", "epochs", "run"]  # units of time; "run" is the whole training, so the time 0.5 is its middle


@dataclass(frozen=True)
class Progress:
    """The progress of a run, that is, of the whole training.

    step: the number of updates so far.
    steps: the number of updates in the run.
    epoch_steps: the number of updates in an epoch.
    """

    step: int
    steps: int
    epoch_steps: int


@dataclass(frozen=True)
class Schedule(metaclass=Checked):
    """A factor of the optimizer's learning rate for each step: a frozen dataclass of hyperparameters."""

    @property
    def watches(self) -> bool:
        """Whether the schedule depends on the validation loss; `fit` then requires validation data."""
        return True

    @abstractmethod
    def begin(self) -> Memory:
        """Return the schedule's state at the start of a run: finite numbers, saved in checkpoints."""

    @abstractmethod
    def factor(self, now: Progress, memory: Memory) -> float:
        """Return the factor for the next update, after `now.step` updates; `memory` is not changed."""

    @abstractmethod
    def observe(self, memory: Memory, loss: float) -> Memory:
        """Return the schedule's new state after an epoch with the validation loss `loss`."""


@dataclass(frozen=True)
class Plan(Schedule):
    """Base class of schedules without a state, whose factor depends only on the step."""

    @abstractmethod
    def at(self, now: Progress) -> float:
        """Return the factor for the next update, after `now.step` updates."""

    @property
    def watches(self) -> bool:
        """False, because the schedule does not depend on the validation loss."""
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


def steps_in_unit(unit: Unit, now: Progress) -> int:
    """Return the number of steps in a unit."""
    return {"steps": 1, "epochs": now.epoch_steps, "run": now.steps}[unit]


@dataclass(frozen=True)
class Constant(Plan):
    """The optimizer's own learning rate throughout: a factor of 1."""

    def at(self, now: Progress) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class InverseTime(Plan):
    """Decay with the inverse of time: t0 / (t + t1), where t is the time in `unit`, with fractions.

    With t1 = t0 the factor begins at 1 and is 1/2 after t0.
    Source: Robbins and Monro 1951, for the conditions on learning rates, which it satisfies; Bottou 2012, Stochastic
    gradient descent tricks, section 5.2.
    """

    t0: float
    t1: float
    unit: Unit = "epochs"

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown unit or times that are not above 0."""
        check_range(self, exclude_low=True, t0=self.t0, t1=self.t1)
        check_choice(self, get_args(Unit), unit=self.unit)

    def at(self, now: Progress) -> float:
        """Return t0 / (t + t1)."""
        return self.t0 / (now.step / steps_in_unit(self.unit, now) + self.t1)


@dataclass(frozen=True)
class Step(Plan):
    """Step decay: multiply the rate by `drop` every `every` units, or at each of `at_times`.

    Exactly one of `every` and `at_times` is given; times are rounded to steps. `Step(0.1, every=30)` multiplies by 0.1
    every 30 epochs, `Step(0.1, at_times=(0.5, 0.75), unit="run")` at one half and three quarters of the run.
    Source: He et al. 2016, section 3.4.
    """

    drop: float = 0.1
    every: float | None = None
    at_times: tuple[float, ...] = ()
    unit: Unit = "epochs"

    def __post_init__(self) -> None:
        """Raise PellucidError for both or neither of `every` and `at_times`, or numbers that are not above 0."""
        check_range(self, exclude_low=True, drop=self.drop)
        check_choice(self, get_args(Unit), unit=self.unit)
        if (self.every is None) == (not self.at_times):
            raise PellucidError("Step: give either every or at_times, the times at which the rate drops")
        check_range(self, exclude_low=True, **({} if self.every is None else {"every": self.every}))
        for time in self.at_times:
            check_range(self, at_times=time)

    def at(self, now: Progress) -> float:
        """Return drop ** (number of drops so far)."""
        unit_steps = steps_in_unit(self.unit, now)
        if self.every is not None:
            return self.drop ** (now.step // max(1, round(self.every * unit_steps)))
        return self.drop ** sum(now.step >= round(time * unit_steps) for time in self.at_times)


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
        """Return the factor; after the end of the run, the minimum."""
        return _anneal(1.0, self.minimum, min(now.step / max(1, now.steps), 1.0))


@dataclass(frozen=True)
class OneCycle(Plan):
    """Rise from 1/div_factor to 1 in the fraction `pct_start` of the run, then fall to 1/div_factor/final_div_factor.

    Both follow half a cosine; the optimizer's learning rate is the maximum. The arguments are those of PyTorch's
    OneCycleLR.
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
        """Return the factor; after the end of the run, the final one."""
        start, end = 1 / self.div_factor, 1 / self.div_factor / self.final_div_factor
        peak = self.pct_start * now.steps - 1  # the last step of the rise
        if now.step < peak:
            return _anneal(start, 1.0, now.step / peak)
        return _anneal(1.0, end, min((now.step - peak) / (now.steps - 1 - peak), 1.0))


def _anneal(start: float, end: float, fraction: float) -> float:
    """Interpolate from `start` to `end` along half a cosine; `fraction` is from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


@dataclass(frozen=True)
class Warmup(Schedule):
    """Linear warmup from `start` to 1 over `steps` steps, followed by the schedule `then` over the rest of the run.

    Source: Goyal et al. 2017, Accurate, large minibatch SGD, section 2.2.
    """

    steps: int
    then: Schedule = field(default_factory=Constant)
    start: float = 0.01

    def __post_init__(self) -> None:
        """Raise PellucidError for a number of steps below 1 or a start outside [0, 1)."""
        check_whole(self, steps=self.steps)
        check_range(self, high=1.0, start=self.start)

    @property
    def watches(self) -> bool:
        """Whether `then` depends on the validation loss."""
        return self.then.watches

    def begin(self) -> Memory:
        """Return the state of `then`."""
        return self.then.begin()

    def factor(self, now: Progress, memory: Memory) -> float:
        """Return the factor of the warmup or, after it, the factor of `then`, whose run is the remaining steps."""
        if now.step < self.steps:
            return self.start + (1 - self.start) * now.step / self.steps
        return self.then.factor(Progress(now.step - self.steps, now.steps - self.steps, now.epoch_steps), memory)

    def observe(self, memory: Memory, loss: float) -> Memory:
        """Return the new state of `then` after the epoch."""
        return self.then.observe(memory, loss)


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """Multiply the rate by `drop` when the validation loss has not improved for more than `patience` epochs.

    An improvement is a loss below the best one so far times 1 - `threshold`. The `cooldown` epochs after a drop are not
    counted. The factor is at least `minimum`. Like PyTorch's ReduceLROnPlateau with mode="min", threshold_mode="rel".
    """

    drop: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    minimum: float = 0.0

    def __post_init__(self) -> None:
        """Raise PellucidError for arguments out of range."""
        check_range(self, high=1.0, exclude_low=True, drop=self.drop)
        check_range(self, high=1.0, threshold=self.threshold, minimum=self.minimum)
        check_whole(self, 0, patience=self.patience, cooldown=self.cooldown)

    def begin(self) -> Memory:
        """Return the initial state: the best loss is the largest float, because JSON has no infinity."""
        return {"factor": 1.0, "best": sys.float_info.max, "bad": 0, "cooling": 0}

    def factor(self, now: Progress, memory: Memory) -> float:
        """Return the factor after the drops so far."""
        return memory["factor"]

    def observe(self, memory: Memory, loss: float) -> Memory:
        """Return the new state: count epochs without improvement, and drop after too many; NaN does not improve."""
        factor, best_loss = memory["factor"], memory["best"]
        bad_epochs, cooldown_epochs = memory["bad"], memory["cooling"]
        if loss < best_loss * (1 - self.threshold):
            best_loss = loss
            bad_epochs = 0
        else:
            bad_epochs += 1
        if cooldown_epochs > 0:
            cooldown_epochs = cooldown_epochs - 1
            bad_epochs = 0
        if bad_epochs > self.patience:
            factor = max(factor * self.drop, self.minimum)
            bad_epochs = 0
            cooldown_epochs = self.cooldown
        return {"factor": factor, "best": best_loss, "bad": bad_epochs, "cooling": cooldown_epochs}


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "inverse_time": InverseTime,
    "step": Step,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "warmup": Warmup,
    "reduce_on_plateau": ReduceOnPlateau,
}
