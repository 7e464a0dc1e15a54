"""A rate that falls in steps."""

from dataclasses import dataclass

from pellucid.errors import PellucidError
from pellucid.optim.base import check_range
from pellucid.optim.schedules.base import Plan, Progress, Unit, check_unit, length


@dataclass(frozen=True)
class Step(Plan):
    """`drop` to the power of how many drops are past: one after `every` units, again and again, or one `at_times` each.

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
