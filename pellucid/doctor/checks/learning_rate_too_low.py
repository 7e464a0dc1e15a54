"""A learning rate so low that the training does not get there in the steps that it has."""

from math import inf

from pellucid.doctor.case import SHORT, Case
from pellucid.doctor.checks.learning_rate_too_high import EARLY, clearly_better, rate_evidence, trial_steps
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.rehearsal import DEFAULT_EPOCHS, default_rate
from pellucid.doctor.remedies import with_rate
from pellucid.optim import Progress

MIN_RATE = 0.25  # of the optimizer's default rate: of Adam's 0.001, 0.0003 is common too


def look(case: Case) -> list[Finding]:
    """Compare the loss of the training, or the one expected at the pace of its first steps, with higher rates."""
    losses = case.range_losses
    best = min((factor for factor in losses if factor > 1), key=lambda factor: losses[factor])
    if case.stopped or losses[1.0] <= EARLY * losses[best] or _needs_epochs(case):
        return []
    if case.trained:
        here, name = case.loss, "loss_after_training"
    else:
        here, name = _at_this_pace(case, losses), "loss_at_the_pace_of_the_first_steps"
    found = None if here == inf else clearly_better(case, here, best, losses[best])
    if found is None:
        return []
    factor, there = found
    if factor <= 1.0 or (case.trained and here > case.loss_at(1.0, trial_steps(case))):
        return []  # it was there and was lost, which no higher rate mends
    known: Evidence = {name: here, "steps_of_the_training": case.steps_made or case.steps_planned}
    evidence = rate_evidence(case, known, "higher", factor, there)
    cause = "each step is so small that all of them together do not lead to where the loss is low"
    fix = f"raise the learning rate to about {evidence['higher_rate']:.2g}, or train for many more epochs"
    remedy = Remedy(f"{factor:.3g} times the learning rate", lambda case: with_rate(case, factor))
    return [Finding(NAME, "training", evidence, cause, fix, remedy)]


def _needs_epochs(case: Case) -> bool:
    """Return whether the rate is a usual one with which the loss still falls: then the epochs are too few."""
    highest = max(_factors(case)) * case.model.optimizer.lr
    return highest >= MIN_RATE * default_rate(case.model.optimizer) and (not case.history or case.loss_falls)


def _at_this_pace(case: Case, losses: dict[float, float]) -> float:
    """Return the loss after all steps if none gained less than the first ones by its rate: lower than it will be.

    The lowest rate of the range test, which learns next to nothing, has the loss of the same batches before.
    """
    gained = max(losses[min(losses)] - losses[1.0], 0.0)
    rates = _factors(case)
    first = sum(rates[:SHORT])
    return losses[1.0] - gained * sum(rates[SHORT:]) / first if first > 0 else -inf


def _factors(case: Case) -> list[float]:
    """Return what the schedule multiplies the rate by in each step that was or is to be made."""
    epoch, schedule = case.steps_per_epoch, case.model.schedule
    planned = max(case.steps_planned or DEFAULT_EPOCHS * epoch, SHORT)
    memory = schedule.begin()
    steps = max(case.steps_made or planned, SHORT)
    return [schedule.factor(Progress(step, planned, epoch), memory) for step in range(steps)]


NAME = "learning-rate-too-low"
CHECK = Check(
    NAME, look, own_trial=True,
    explains=("update-ratio", "underfitting", "miscalibration", "collapsed-predictions"),
)  # fmt: skip
