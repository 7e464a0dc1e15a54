"""Whether one model or preparation is right more often than another on the same examples."""

from math import sqrt

from torch import Tensor

SURE = 4.0  # standard deviations, of McNemar's test
LEAST = 0.02  # of the examples


def gained(before: Tensor, after: Tensor) -> bool:
    """Tell whether more of the answers (N,) are right than were before, beyond chance (McNemar 1947)."""
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    return won - lost >= max(LEAST * len(before), SURE * sqrt(won + lost))
