"""A learning rate so low that the training does not reach a low loss in its number of steps."""

from math import inf

from pellucid.doctor.case import RANGE_TEST_STEPS, Case
from pellucid.doctor.checks.learning_rate_too_high import (
    MIN_RANGE_TEST_RATIO,
    clearly_better,
    rate_evidence,
    trial_steps,
)
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.rehearsal import DEFAULT_EPOCHS, default_rate
from pellucid.doctor.remedies import with_rate
from pellucid.optim import Progress

MIN_RATE = 0.25  # relative to the optimizer's default rate; for Adam (0.001), 0.0003 is common too


def look(case: Case) -> list[Finding]:
    """Compare the loss of the training, or an extrapolation of its first steps, with higher learning rates."""
    losses = case.range_losses
    best = min((factor for factor in losses if factor > 1), key=lambda factor: losses[factor])
    if case.stopped or losses[1.0] <= MIN_RANGE_TEST_RATIO * losses[best] or _needs_epochs(case):
        return []
    if case.trained:
        here, name = case.loss, "loss_after_training"
    else:
        here, name = _extrapolated(case, losses), "loss_at_the_pace_of_the_first_steps"
    found = None if here == inf else clearly_better(case, here, best, losses[best])
    if found is None:
        return []
    factor, there = found
    if factor <= 1.0 or (case.trained and here > case.loss_at(1.0, trial_steps(case))):
        return []  # no higher rate is better, or the loss was lower before and rose again
    measured: Evidence = {name: here, "steps_of_the_training": case.steps_made or case.steps_planned}
    evidence = rate_evidence(case, measured, "higher", factor, there)
    cause = "the steps are so small that all of them together do not reach a low loss"
    fix = f"raise the learning rate to about {evidence['higher_rate']:.2g}, or train for many more epochs"
    remedy = Remedy(f"{factor:.3g} times the learning rate", lambda case: with_rate(case, factor))
    return [Finding(NAME, "training", evidence, cause, fix, remedy)]


def _needs_epochs(case: Case) -> bool:
    """Return whether the learning rate is usual and the loss still falls, so that the epochs are too few instead."""
    highest = max(_factors(case)) * case.model.optimizer.lr
    return highest >= MIN_RATE * default_rate(case.model.optimizer) and (not case.history or case.loss_falls)


def _extrapolated(case: Case, losses: dict[float, float]) -> float:
    """Return a lower bound of the loss after all steps, extrapolated from the gain of the first steps.

    The gain per step is assumed to be proportional to the learning rate. It is measured against the lowest rate of the
    range test, which hardly changes the weights.
    """
    gain = max(losses[min(losses)] - losses[1.0], 0.0)
    rates = _factors(case)
    first_rates = sum(rates[:RANGE_TEST_STEPS])
    return losses[1.0] - gain * sum(rates[RANGE_TEST_STEPS:]) / first_rates if first_rates > 0 else -inf


def _factors(case: Case) -> list[float]:
    """Return the schedule's factor of the learning rate for each step of the training, made or planned."""
    epoch, schedule = case.steps_per_epoch, case.model.schedule
    planned = max(case.steps_planned or DEFAULT_EPOCHS * epoch, RANGE_TEST_STEPS)
    state = schedule.begin()
    steps = max(case.steps_made or planned, RANGE_TEST_STEPS)
    return [schedule.factor(Progress(step, planned, epoch), state) for step in range(steps)]


NAME = "learning-rate-too-low"
CHECK = Check(
    NAME, look, own_trial=True,
    explains=("update-ratio", "underfitting", "miscalibration", "collapsed-predictions"),
)  # fmt: skip
