"""A rate that rises once and falls once."""

import math
from dataclasses import dataclass

from pellucid.optim.base import check_range
from pellucid.optim.schedules.base import Plan, Progress


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
    """Go from `start` to `end` along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2
