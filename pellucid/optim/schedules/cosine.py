"""A rate that falls along half a cosine."""

import math
from dataclasses import dataclass

from pellucid.optim.base import check_range
from pellucid.optim.schedules.base import Plan, Progress


@dataclass(frozen=True)
class Cosine(Plan):
    """m + (1 - m) (1 + cos(π step / steps)) / 2: from 1 to m, the `minimum`, over the whole run.

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
