"""The same rate throughout."""

from dataclasses import dataclass

from pellucid.optim.schedules.base import Plan, Progress


@dataclass(frozen=True)
class Constant(Plan):
    """1: the optimizer's own learning rate."""

    def at(self, now: Progress) -> float:
        """Return 1."""
        return 1.0
