"""A rate that rises first, and then does something else."""

from dataclasses import dataclass, field

from pellucid.errors import PellucidError
from pellucid.optim.base import check_range
from pellucid.optim.schedules.base import Memory, Progress, Schedule
from pellucid.optim.schedules.constant import Constant


@dataclass(frozen=True)
class Warmup(Schedule):
    """From `start` to 1 in a straight line over `steps` steps; `then` another schedule, over the rest of the run.

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
        """Whether `then` does."""
        return self.then.watches

    def begin(self) -> Memory:
        """Return what `then` remembers."""
        return self.then.begin()

    def factor(self, now: Progress, memory: Memory) -> float:
        """Return the line's height, and after it what `then` says of the rest of the run."""
        if now.step < self.steps:
            return self.start + (1 - self.start) * now.step / self.steps
        return self.then.factor(Progress(now.step - self.steps, now.steps - self.steps, now.epoch_steps), memory)

    def observe(self, memory: Memory, loss: float) -> Memory:
        """Let `then` observe."""
        return self.then.observe(memory, loss)
