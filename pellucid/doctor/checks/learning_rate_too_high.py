"""A learning rate so high that the training does worse than a few steps at a lower one."""

from pellucid.doctor.case import SHORT, Case
from pellucid.doctor.checks import unnormalised_inputs
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.predictions import loss_on
from pellucid.doctor.remedies import rebuilt, with_rate

MAX_TRIAL = 200  # steps of a trial: enough for rates to differ, a few seconds at most on small data
MIN_TRIAL = 5  # below it, a loss shows no more than the noise of single batches
# How much higher a loss must be than that of a trial at another rate, so that the rate is to blame.
WORSE = 1.5  # times, after fewer steps: far beyond what two orders of the same batches differ by
EARLY = 1.2  # times, at the end of the range test: the rate shows at once, unlike what regularizers do in time
MIN_FALL = 0.05  # of the way from the first loss


def look(case: Case) -> list[Finding]:
    """Compare the loss of the training, or of a trial, with the range test at lower rates."""
    losses = case.lower_range_losses
    best = min((factor for factor in losses if factor < 1), key=lambda factor: losses[factor])
    if losses[best] == float("inf") or losses[1.0] <= EARLY * losses[best]:
        return []  # no rate helps, or this one does at least as well
    done = case.trained and not case.stopped
    steps = trial_steps(case)
    here = case.loss if case.trained else 0.0
    if not done:
        here = max(here, case.loss_at(1.0, steps))
    found = clearly_better(case, here, best, losses[best])
    if found is None:
        return []
    factor, there = found
    if case.model.regularizers and rebuilt(case, regularizer=None).loss_at(1.0, steps) <= WORSE * there:
        return []  # the rate is fine; the penalty that shrinks the weights is not
    usual_inputs = (one.remedy.apply(case) for one in unnormalised_inputs.CHECK.look(case) if one.remedy is not None)
    if any(mended.loss_at(1.0, steps) <= WORSE * there for mended in usual_inputs):
        return []  # the rate is fine for inputs of usual size
    known: Evidence = {"loss_after_training" if done else "loss_at_this_rate": here}
    evidence = rate_evidence(case, known, "lower", factor, there)
    cause = "each step goes too far: it passes the minimum that it aims at, and the loss jumps or grows"
    fix = f"lower the learning rate to about {evidence['lower_rate']:.2g}"
    remedy = Remedy(f"{factor:.2g} times the learning rate", lambda case: with_rate(case, factor))
    return [Finding(NAME, "training", evidence, cause, fix, remedy)]


def rate_evidence(case: Case, known: Evidence, other: str, factor: float, there: float) -> Evidence:
    """Return the losses at this and at another learning rate, `other` than it: lower or higher."""
    return {
        "learning_rate": case.model.optimizer.lr,
        **known,
        f"{other}_rate": case.model.optimizer.lr * factor,
        f"loss_at_the_{other}_rate": there,
        "steps": trial_steps(case),
        "range_test_loss_at_this_rate": case.range_losses[1.0],
        f"range_test_loss_at_the_{other}_rate": case.lower_range_losses[factor],
        "range_test_steps": SHORT,
    }


def trial_steps(case: Case) -> int:
    """Return the steps of a trial: half of those of the training, so that this has had time enough to do better.

    At most MAX_TRIAL, and at least MIN_TRIAL, which may be all of a very short training or more.
    """
    known = case.steps_made or case.steps_planned
    return max(min(MAX_TRIAL, known // 2), MIN_TRIAL) if known else MAX_TRIAL


def clearly_better(case: Case, here: float, factor: float, end: float) -> tuple[float, float] | None:
    """Return a factor that leads to a loss clearly below `here` in a trial, and that loss; None if it does not.

    factor: the best of the range test, and `end` the loss there. It, or the next lower one, is tried: a rate that is
    best in the range test may be too high for long.
    """
    if here <= end / 2:
        return None  # clear without a longer trial
    steps = trial_steps(case)
    lower = max((other for other in case.range_losses if other < factor), default=factor)
    best = min(factor, lower, key=lambda one: case.loss_at(one, steps))
    there = case.loss_at(best, steps)
    if here <= WORSE * there or here - there <= MIN_FALL * (loss_on(case.first, case.sample) - there):
        return None
    return best, there


NAME = "learning-rate-too-high"
CHECK = Check(
    NAME, look, own_trial=True,
    explains=("nan-origin", "dead-units", "saturated-units", "vanishing-gradients", "update-ratio",
              "collapsed-predictions", "underfitting", "batch-norm", "miscalibration", "useless-maps"),
)  # fmt: skip
