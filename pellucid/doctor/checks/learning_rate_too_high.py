"""A learning rate so high that the loss of the training is higher than after a few steps at a lower rate."""

from pellucid.doctor.case import RANGE_TEST_STEPS, Case, has_flat_targets
from pellucid.doctor.checks import unnormalised_inputs
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.paired import MIN_HELD_OUT, MIN_PROOF_STEPS
from pellucid.doctor.remedies import rebuilt, with_rate

MAX_TRIAL_STEPS = 200  # enough for learning rates to differ; at most a few seconds on small data
MIN_TRIAL_STEPS = 5  # with fewer, differences of the loss are only noise of single batches
# The learning rate is the cause if the loss is higher than at another rate by these factors.
MIN_LOSS_RATIO = 1.5  # in a trial with fewer steps; different orders of the batches differ far less
MIN_RANGE_TEST_RATIO = 1.2  # at the end of the range test, which is too short for regularizers to matter
MIN_FALL = 0.05  # smallest difference of the losses, relative to the fall of the loss since the first step


def find(case: Case) -> list[Finding]:
    """Compare the loss of the training, or of a trial, with the range test at lower rates."""
    if needs_no_range_test(case):
        return []
    losses = case.range_losses
    best_factor = min((factor for factor in losses if factor < 1), key=lambda factor: losses[factor])
    if losses[best_factor] == float("inf") or losses[1.0] <= MIN_RANGE_TEST_RATIO * losses[best_factor]:
        return []  # no lower rate trains, or the loss is not much higher than at a lower rate
    is_finished = case.trained and not case.stopped
    steps = trial_steps(case)
    current_loss = case.loss if case.trained else 0.0
    if not is_finished:
        current_loss = max(current_loss, case.loss_at(1.0, steps))
    better_rate = clearly_better_rate(case, current_loss, best_factor)
    if better_rate is None:
        return []
    factor, better_loss = better_rate
    if case.model.regularizers and rebuilt(case, regularizer=None).loss_at(1.0, steps) <= MIN_LOSS_RATIO * better_loss:
        return []  # without the regularizer, the rate is not too high
    normalized_cases = (
        finding.remedy.apply(case) for finding in unnormalised_inputs.CHECK.find(case) if finding.remedy is not None
    )
    if any(normalized_case.loss_at(1.0, steps) <= MIN_LOSS_RATIO * better_loss for normalized_case in normalized_cases):
        return []  # for normalized inputs, the rate is not too high
    measured_loss: Evidence = {"loss_after_training" if is_finished else "loss_at_this_rate": current_loss}
    evidence = rate_evidence(case, measured_loss, "lower", factor, better_loss)
    cause = "each step is too large: it overshoots the minimum, and the loss jumps or grows"
    fix = f"lower the learning rate to about {evidence['lower_rate']:.2g}"
    remedy = Remedy(f"{factor:.2g} times the learning rate", lambda case: with_rate(case, factor))
    return [Finding(NAME, "training", evidence, cause, fix, remedy, is_fault=trial_steps(case) >= MIN_PROOF_STEPS)]


def needs_no_range_test(case: Case) -> bool:
    """Return whether experiments try other rates, or the loss is so low that none is better by MIN_FALL of the first.

    Experiments try them for all trained models of masks, key-points and the like that have enough validation data.
    """
    if not case.trained or case.stopped:
        return False
    can_be_tried = case.trainable and case.steps_planned and len(case.validation or ()) >= MIN_HELD_OUT
    is_tried = bool(can_be_tried) and not has_flat_targets(case)
    return is_tried or 0 <= case.loss <= MIN_FALL * case.first_loss


def rate_evidence(case: Case, measured_loss: Evidence, direction: str, factor: float, other_loss: float) -> Evidence:
    """Return the losses at the case's learning rate and at another one.

    measured_loss: the loss at the case's rate, as evidence. direction: "lower" or "higher". factor: the other rate
    divided by the case's rate. other_loss: the loss at the other rate.
    """
    return {
        "learning_rate": case.model.optimizer.lr,
        **measured_loss,
        f"{direction}_rate": case.model.optimizer.lr * factor,
        f"loss_at_the_{direction}_rate": other_loss,
        "steps": trial_steps(case),
        "range_test_loss_at_this_rate": case.range_losses[1.0],
        f"range_test_loss_at_the_{direction}_rate": case.range_losses[factor],
        "range_test_steps": RANGE_TEST_STEPS,
    }


def trial_steps(case: Case) -> int:
    """Return the number of steps of a trial: half of the training's steps, so the training has an advantage.

    At most MAX_TRIAL_STEPS, and at least MIN_TRIAL_STEPS, even for a shorter training.
    """
    steps = case.steps_made or case.steps_planned
    return max(min(MAX_TRIAL_STEPS, steps // 2), MIN_TRIAL_STEPS) if steps else MAX_TRIAL_STEPS


def clearly_better_rate(case: Case, loss: float, factor: float) -> tuple[float, float] | None:
    """Return a rate factor with a loss clearly below `loss` in a trial, and that loss; None if there is none.

    factor: the best factor of the range test. This factor and the next lower one are tried, because the best rate of a
    short range test may be too high for a longer training.
    """
    if loss <= case.range_losses[factor] / 2:
        return None
    steps = trial_steps(case)
    lower_factor = max((candidate for candidate in case.range_losses if candidate < factor), default=factor)
    best_factor = min(factor, lower_factor, key=lambda candidate: case.loss_at(candidate, steps))
    best_loss = case.loss_at(best_factor, steps)
    min_difference = MIN_FALL * (case.first_loss - best_loss)
    is_better = loss > MIN_LOSS_RATIO * best_loss and loss - best_loss > min_difference
    return (best_factor, best_loss) if is_better else None


NAME = "learning-rate-too-high"
CHECK = Check(
    NAME, find,
    explains=("nan-origin", "dead-units", "saturated-units", "vanishing-gradients", "update-ratio",
              "collapsed-predictions", "underfitting", "batch-norm", "miscalibration", "useless-maps"),
)  # fmt: skip
