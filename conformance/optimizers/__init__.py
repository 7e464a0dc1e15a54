"""PyTorch's optimizers, schedules, clipping and weight decay compared with ours, over 100 steps in float64."""

from collections.abc import Iterator

from conformance.case import Case
from conformance.optimizers import clipping, regularizers, schedules, steps


def cases() -> Iterator[Case]:
    """Yield the cases of every optimizer, schedule, regularizer and method of clipping."""
    for part in (steps, schedules, regularizers, clipping):
        yield from part.cases()
