"""A rate that falls with the inverse of time."""

from dataclasses import dataclass

from pellucid.optim.base import check_range
from pellucid.optim.schedules.base import Plan, Progress, Unit, check_unit, length


@dataclass(frozen=True)
class InverseTime(Plan):
    """t0 / (t + t1), t in `unit`; parts of a unit count. With t1 = t0 it begins at 1 and is 1/2 after t0.

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
