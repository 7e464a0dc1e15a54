"""Probabilities that are far surer, or less sure, than they are right."""

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.measure.temperature import likelihood, temperature
from pellucid.metrics import calibration_error

ENOUGH = 200  # examples: the error of 15 bins is biased upwards by several percent for fewer
SURE = 4.0  # standard deviations of the share of right answers if the probabilities were true: once in 16,000 by chance
# The temperature or its inverse. Guo et al. 2017 found networks of then from 1 to 3, the lower half of which is usual:
# at 2 logits count twice, and an answer that is right 9 times in 10 is given with 99 %.
OFF = 2.0
# The likelihood's loss over that at the temperature, which was fitted on other examples: a quarter of it is needless.
GAIN = 1.3


def look(case: Case) -> list[Finding]:
    """Compare what the model is sure of with how often it is right, on examples that it did not learn from."""
    if not case.trained or case.held is None or len(case.held) < ENOUGH or not case.classifies:
        return []
    if case.reached == float("inf") or case.unseen is None:
        return []
    p, target = case.unseen.y, case.held.y
    if p.shape[1] < 2 or not bool(((p.sum(1) - 1).abs() < 1e-3).all()) or not bool((p >= 0).all()):
        return []  # no probabilities
    if case.model.confidence is not None:
        p = case.model.confidence.calibrate(p)
    sure, said = p.double().max(1)
    gap = float(sure.mean()) - float((said == target).double().mean())
    spread = max(float((sure * (1 - sure)).sum()), 1.0) ** 0.5 / len(p)
    fit, rest = slice(0, None, 2), slice(1, None, 2)
    there = temperature(p[fit], target[fit])
    gain = likelihood(p[rest], target[rest]) / max(likelihood(p[rest], target[rest], there), 1e-12)
    if abs(gap) <= SURE * spread or 1 / OFF <= there <= OFF or gain <= GAIN:
        return []
    if gap > 0:
        cause = "the model learned to be certain: long training pushes the loss down by larger outputs, right or not"
        fix = f"divide the outputs by a temperature of {there:.2g}, or train shorter, with weight decay"
    else:
        cause = "the model is right more often than it says: label smoothing, or a regularizer, holds it back"
        fix = f"divide the outputs by a temperature of {there:.2g}, or smooth the labels less"
    return [
        Finding(
            NAME,
            "validation",
            {
                "mean_probability_of_the_answer": float(sure.mean()),
                "share_of_right_answers": float(sure.mean()) - gap,
                "deviations_apart": gap / spread,
                "expected_calibration_error": calibration_error(target, p),
                "best_temperature": there,
                "log_loss": likelihood(p, target),
                "log_loss_at_the_temperature": likelihood(p, target, there),
                "examples": len(p),
            },
            cause,
            fix,
        )
    ]


NAME = "miscalibration"
CHECK = Check(NAME, "Probabilities are far surer, or far less sure, than they are right.", look)
