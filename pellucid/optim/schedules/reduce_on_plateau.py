"""A rate that falls when nothing improves."""

import sys
from dataclasses import dataclass

from pellucid.errors import PellucidError
from pellucid.optim.base import check_range
from pellucid.optim.schedules.base import Memory, Progress, Schedule


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
        """Raise PellucidError for numbers below 0, or a drop that is no drop."""
        check_range(self, high=1.0, open_low=True, drop=self.drop)
        check_range(self, high=1.0, threshold=self.threshold, minimum=self.minimum)
        for name, epochs in (("patience", self.patience), ("cooldown", self.cooldown)):
            if type(epochs) is not int or epochs < 0:
                raise PellucidError(f"ReduceOnPlateau: {name} must be a whole number of at least 0, not {epochs!r}")

    def begin(self) -> Memory:
        """Return a factor of 1, no bad epochs, and as the best loss the largest number (infinity is no JSON)."""
        return {"factor": 1.0, "best": sys.float_info.max, "bad": 0, "cooling": 0}

    def factor(self, now: Progress, memory: Memory) -> float:
        """Return the factor that is left."""
        return memory["factor"]

    def observe(self, memory: Memory, loss: float) -> Memory:
        """Count bad epochs, and drop after too many; a loss of NaN is no improvement."""
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
