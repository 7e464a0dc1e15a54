"""How long trainings are, and trials beside them."""

from pellucid.doctor.case import Case

MOST = 200  # steps of a trial: enough to tell rates apart, a few seconds at most on small data
LEAST = 5  # below it, the noise of single batches is all that a loss tells


def steps_of_training(case: Case) -> int:
    """Return the number of steps that the training made or is to make, 0 where it is unknown."""
    if case.history is not None and case.history.rows:
        return int(case.history.last.get("step") or 0)
    return case.epochs * -(-len(case.train) // case.batch_size)


def steps_of_a_trial(case: Case) -> int:
    """Return the steps of a trial: half of those of the training, so that this has had time enough to do better.

    At most MOST, and at least LEAST, which may be all of a very short training or more.
    """
    known = steps_of_training(case)
    return max(min(MOST, known // 2), LEAST) if known else MOST


def better(case: Case, factor: float, steps: int) -> float:
    """Return the factor, or the next lower of the range test, whichever leads to the lower loss in a trial.

    A rate that is best in the range test may be too high for long.
    """
    lower = max((other for other in case.ends if other < factor), default=factor)
    return min(factor, lower, key=lambda one: case.outcome(one, steps))
