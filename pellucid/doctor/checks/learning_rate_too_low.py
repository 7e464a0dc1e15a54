"""A learning rate so low that the training does not reach a low loss in its number of steps."""

from math import inf

from pellucid.doctor.case import RANGE_TEST_STEPS, Case
from pellucid.doctor.checks.learning_rate_too_high import (
    MIN_RANGE_TEST_RATIO,
    clearly_better_rate,
    needs_no_range_test,
    rate_evidence,
    trial_steps,
)
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.paired import MIN_PROOF_STEPS
from pellucid.doctor.rehearsal import DEFAULT_EPOCHS, default_rate
from pellucid.doctor.remedies import with_rate
from pellucid.optim import Progress

MAX_EVALUATIONS = 10_000  # of the schedule; in a longer training, it is evaluated at regular intervals
MIN_RATE = 0.25  # relative to the optimizer's default rate; for Adam (0.001), 0.0003 is common too


def find(case: Case) -> list[Finding]:
    """Compare the loss of the training, or an extrapolation of its first steps, with losses at higher rates."""
    if needs_no_range_test(case):
        return []
    losses = case.range_losses
    best_factor = min((factor for factor in losses if factor > 1), key=lambda factor: losses[factor])
    if case.stopped or losses[1.0] <= MIN_RANGE_TEST_RATIO * losses[best_factor] or _needs_more_epochs(case):
        return []
    current_loss = case.loss if case.trained else _extrapolated_loss(case, losses)
    better_rate = None if current_loss == inf else clearly_better_rate(case, current_loss, best_factor)
    if better_rate is None:
        return []
    factor, better_loss = better_rate
    if factor <= 1.0 or (case.trained and current_loss > case.loss_at(1.0, trial_steps(case))):
        return []  # no higher rate is better, or the loss was lower earlier in the training
    loss_name = "loss_after_training" if case.trained else "loss_at_the_pace_of_the_first_steps"
    measured_loss = {loss_name: current_loss, "steps_of_the_training": case.steps_made or case.steps_planned}
    evidence = rate_evidence(case, measured_loss, "higher", factor, better_loss)
    cause = "the steps are so small that all of them together do not reach a low loss"
    fix = f"raise the learning rate to about {evidence['higher_rate']:.2g}, or train for many more epochs"
    remedy = Remedy(f"{factor:.3g} times the learning rate", lambda case: with_rate(case, factor))
    return [Finding(NAME, "training", evidence, cause, fix, remedy, is_fault=trial_steps(case) >= MIN_PROOF_STEPS)]


def _needs_more_epochs(case: Case) -> bool:
    """Return whether the number of epochs is the cause: the learning rate is usual and the loss still falls."""
    _, _, largest_factor = _schedule_sums(case)
    is_usual = largest_factor * case.model.optimizer.lr >= MIN_RATE * default_rate(case.model.optimizer)
    return is_usual and (not case.history or case.loss_falls)


def _extrapolated_loss(case: Case, losses: dict[float, float]) -> float:
    """Return a lower bound of the loss after all steps, extrapolated from the gain of the first steps.

    The gain is the decrease of the loss, assumed to be proportional to the learning rate in each step. It is measured
    relative to the loss at the lowest rate of the range test, which hardly changes the weights.
    """
    gain = max(losses[min(losses)] - losses[1.0], 0.0)
    first_sum, later_sum, _ = _schedule_sums(case)
    return losses[1.0] - gain * later_sum / first_sum if first_sum > 0 else -inf


def _schedule_sums(case: Case) -> tuple[float, float, float]:
    """Return the sums of the schedule's factors over the first RANGE_TEST_STEPS and over the later steps of a training.

    The third value is the largest factor.
    """
    steps_per_epoch, schedule = case.steps_per_epoch, case.model.schedule
    n_planned = max(case.steps_planned or DEFAULT_EPOCHS * steps_per_epoch, RANGE_TEST_STEPS)
    n_steps, state = max(case.steps_made or n_planned, RANGE_TEST_STEPS), schedule.begin()
    stride = max(n_steps // MAX_EVALUATIONS, 1)
    first, later = (
        [schedule.factor(Progress(step, n_planned, steps_per_epoch), state) for step in steps]
        for steps in (range(RANGE_TEST_STEPS), range(RANGE_TEST_STEPS, n_steps, stride))
    )
    return sum(first), sum(later) * stride, max(first + later)


NAME = "learning-rate-too-low"
CHECK = Check(
    NAME, find,
    explains=("update-ratio", "underfitting", "miscalibration", "collapsed-predictions"),
)  # fmt: skip
