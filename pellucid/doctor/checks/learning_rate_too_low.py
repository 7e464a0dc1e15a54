"""A learning rate so low that the training does not get there in the steps that it has."""

from math import inf

from pellucid.doctor.case import SHORT, Case
from pellucid.doctor.finding import Check, Finding, Number, Remedy
from pellucid.doctor.measure.falling import falling
from pellucid.doctor.measure.rehearsal import USUAL
from pellucid.doctor.measure.usual import usual
from pellucid.doctor.mending import with_rate
from pellucid.doctor.trial import EARLY, clearly_better, steps_of_a_trial
from pellucid.optim import Progress

LEAST = 0.25  # of the optimizer's usual rate: of Adam's 0.001, 0.0003 is common too


def look(case: Case) -> list[Finding]:
    """Compare what the training reached, or could at the pace of its first steps, with higher rates."""
    ends = case.ends
    best = min((factor for factor in ends if factor > 1), key=lambda factor: ends[factor])
    if case.stopped or ends[1.0] <= EARLY * ends[best] or _needs_epochs(case):
        return []
    steps = steps_of_a_trial(case)
    if case.trained:
        here, name = case.reached, "loss_after_training"
    else:
        here, name = _at_this_pace(case, ends), "loss_at_the_pace_of_the_first_steps"
    found = None if here == inf else clearly_better(case, here, best, ends[best])
    if found is None:
        return []
    best, there = found
    if best <= 1.0 or (case.trained and here > case.outcome(1.0, steps)):
        return []  # it was there and was lost, which no higher rate mends
    rate = case.model.optimizer.lr
    evidence: dict[str, Number] = {
        "learning_rate": rate,
        name: here,
        "steps_of_the_training": case.steps_made or case.steps_planned,
        "higher_rate": rate * best,
        "loss_at_the_higher_rate": there,
        "steps": steps,
        "range_test_loss_at_this_rate": ends[1.0],
        "range_test_loss_at_the_higher_rate": ends[best],
        "range_test_steps": SHORT,
    }
    return [
        Finding(
            NAME,
            "training",
            evidence,
            "each step is so small that all of them together do not lead to where the loss is low",
            f"raise the learning rate to about {rate * best:.2g}, or train for many more epochs",
            Remedy(f"{best:.3g} times the learning rate", lambda case: with_rate(case, best)),
        )
    ]


def _needs_epochs(case: Case) -> bool:
    """Whether the rate is a usual one by which the loss still falls: too few epochs are told by a poor fit."""
    highest = max(_factors(case)) * case.model.optimizer.lr
    return highest >= LEAST * usual(case.model.optimizer) and (not case.history or falling(case.history))


def _at_this_pace(case: Case, ends: dict[float, float]) -> float:
    """Return the loss after all steps if none gained less than the first ones by its rate: lower than it will be.

    The lowest rate of the range test, which learns next to nothing, tells the loss of the same batches before.
    """
    gained = max(ends[min(ends)] - ends[1.0], 0.0)
    rates = _factors(case)
    first = sum(rates[:SHORT])
    return ends[1.0] - gained * sum(rates[SHORT:]) / first if first > 0 else -inf


def _factors(case: Case) -> list[float]:
    """Return what the schedule multiplies the rate by in each step that was or is to be made."""
    epoch = case.steps_per_epoch
    planned = max(case.steps_planned or USUAL * epoch, SHORT)
    schedule = case.model.schedule
    memory = schedule.begin()
    steps = max(case.steps_made or planned, SHORT)
    return [schedule.factor(Progress(step, planned, epoch), memory) for step in range(steps)]


NAME = "learning-rate-too-low"
CHECK = Check(
    NAME,
    "The learning rate is so low that the training does not get there in the steps that it has.",
    look,
    explains=("update-ratio", "underfitting", "miscalibration", "collapsed-predictions"),
    own_trial=True,
)
