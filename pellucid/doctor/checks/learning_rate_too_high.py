"""A learning rate so high that the training does worse than a few steps at a lower one."""

from pellucid.doctor.case import SHORT, Case
from pellucid.doctor.checks import unnormalised_inputs
from pellucid.doctor.finding import Check, Finding, Number, Remedy
from pellucid.doctor.measure.usual import lower_ends
from pellucid.doctor.mending import rebuilt, with_rate
from pellucid.doctor.trial import EARLY, WORSE, clearly_better, steps_of_a_trial


def look(case: Case) -> list[Finding]:
    """Compare what the training reached, or would, with the range test at lower rates."""
    ends = lower_ends(case)
    best = min((factor for factor in ends if factor < 1), key=lambda factor: ends[factor])
    if ends[best] == float("inf") or ends[1.0] <= EARLY * ends[best]:
        return []  # no rate helps, or this one does at least as well
    done = case.trained and not case.stopped
    steps = steps_of_a_trial(case)
    here = case.reached if case.trained else 0.0
    if not done:
        here = max(here, case.outcome(1.0, steps))
    found = clearly_better(case, here, best, ends[best])
    if found is None:
        return []
    best, there = found
    if case.model.regularizers and rebuilt(case, regularizer=None).outcome(1.0, steps) <= WORSE * there:
        return []  # the rate is well; what pulls the weights to 0 is not
    if any(mended.outcome(1.0, steps) <= WORSE * there for mended in _other_inputs(case)):
        return []  # the rate is well for inputs of usual size
    evidence: dict[str, Number] = {
        "learning_rate": case.model.optimizer.lr,
        "loss_after_training" if done else "loss_at_this_rate": here,
        "lower_rate": case.model.optimizer.lr * best,
        "loss_at_the_lower_rate": there,
        "steps": steps,
        "range_test_loss_at_this_rate": ends[1.0],
        "range_test_loss_at_the_lower_rate": ends[best],
        "range_test_steps": SHORT,
    }
    return [
        Finding(
            NAME,
            "training",
            evidence,
            "each step goes too far: it passes the minimum that it aims at, and the loss jumps or grows",
            f"lower the learning rate to about {case.model.optimizer.lr * best:.2g}",
            Remedy(f"{best:.2g} times the learning rate", lambda case: with_rate(case, best)),
        )
    ]


def _other_inputs(case: Case) -> list[Case]:
    return [one.remedy.apply(case) for one in unnormalised_inputs.CHECK.look(case) if one.remedy is not None]


NAME = "learning-rate-too-high"
CHECK = Check(
    NAME,
    "The learning rate is so high that the training does worse than a few steps at a lower one.",
    look,
    explains=(
        "nan-origin", "dead-units", "saturated-units", "vanishing-gradients", "update-ratio",
        "collapsed-predictions", "underfitting", "batch-norm", "miscalibration", "useless-maps",
    ),
    own_trial=True,
)  # fmt: skip
