"""Trials of other learning rates beside a training."""

from pellucid.doctor.case import Case
from pellucid.doctor.measure.reached import loss_on

MOST = 200  # steps of a trial: enough to tell rates apart, a few seconds at most on small data
LEAST = 5  # below it, the noise of single batches is all that a loss tells
# How much higher a loss must be than that of a trial at another rate, so that the rate is to blame.
WORSE = 1.5  # times, after fewer steps: far beyond what two orders of the same batches differ by
EARLY = 1.2  # times, at the end of the range test: the rate shows at once, unlike what regularizers do in time
LEFT = 0.05  # of the way from the first loss: less is not worth a word


def steps_of_a_trial(case: Case) -> int:
    """Return the steps of a trial: half of those of the training, so that this has had time enough to do better.

    At most MOST, and at least LEAST, which may be all of a very short training or more.
    """
    known = case.steps_made or case.steps_planned
    return max(min(MOST, known // 2), LEAST) if known else MOST


def clearly_better(case: Case, here: float, factor: float, end: float) -> tuple[float, float] | None:
    """Return a factor that leads to a loss clearly below `here` in a trial, and that loss; None if it does not.

    factor: the best of the range test, and `end` the loss there. It, or the next lower one, is tried: a rate that is
    best in the range test may be too high for long.
    """
    if here <= end / 2:
        return None  # clear without a longer trial
    steps = steps_of_a_trial(case)
    lower = max((other for other in case.ends if other < factor), default=factor)
    best = min(factor, lower, key=lambda one: case.outcome(one, steps))
    there = case.outcome(best, steps)
    if here <= WORSE * there or here - there <= LEFT * (loss_on(case.first, case.sample) - there):
        return None
    return best, there
