"""Probabilities that are far higher, or far lower, than the share of correct predictions."""

from pellucid.calibration.confidence import fit_temperature, likelihood
from pellucid.combine.base import walk
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.layers import LogSoftmax, Softmax
from pellucid.losses import AuxiliaryCrossEntropy, SoftmaxCrossEntropy
from pellucid.metrics import calibration_error

MIN_EXAMPLES = 200  # the error of 15 bins is biased upwards by several percent for fewer
SURE = 4.0  # standard deviations of the share of right answers if the probabilities were true: once in 16,000 by chance
# The temperature or its inverse. Guo et al. 2017 found networks of then from 1 to 3, the lower half of which is usual:
# at 2 logits count twice, and a prediction that is right 9 times in 10 is given with 99 %.
OFF = 2.0
# The likelihood's loss over that at the temperature, which was fitted on other examples: a quarter of it is needless.
GAIN = 1.3
WORSE = 1.5  # times the loss of the last epoch, over which it fell: no model is so much worse than while it learned
FALSE = 0.05  # of the labels, beyond what training and validation differ by


def look(case: Case) -> list[Finding]:
    """Compare probabilities with the share of correct predictions, on examples that the model did not learn from."""
    part = case.validation_sample
    if not case.trained or part is None or len(part) < MIN_EXAMPLES or not case.classifies:
        return []
    if case.loss == float("inf") or case.validation_predictions is None:
        return []
    p, target = case.validation_predictions.y, part.y
    if p.shape[1] < 2 or not bool(((p.sum(1) - 1).abs() < 1e-3).all()) or not bool((p >= 0).all()):
        return []  # no probabilities
    if case.model.confidence is not None:
        p = case.model.confidence.calibrate(p)
    sure, predicted = p.double().max(1)
    right = float((predicted == target).double().mean())
    gap = float(sure.mean()) - right
    spread = max(float((sure * (1 - sure)).sum()), 1.0) ** 0.5 / len(p)
    fit, rest = slice(0, None, 2), slice(1, None, 2)
    best = fit_temperature(p[fit], target[fit])
    gain = likelihood(p[rest], target[rest]) / max(likelihood(p[rest], target[rest], best), 1e-12)
    if abs(gap) <= SURE * spread or 1 / OFF <= best <= OFF or gain <= GAIN:
        return []
    last = list(walk(case.model.net))[-1]
    scores = f"scores before {last[0]}" if isinstance(last[1], Softmax | LogSoftmax) else "outputs"
    divide = f"divide the {scores} by a temperature of {best:.2g}"
    if gap > 0:
        cause = "the model learned to be certain: long training pushes the loss down by larger outputs, right or not"
        fix = f"{divide}, or train shorter, with weight decay"
    elif case.loss_falls and not _smoothing(case) and not _changed(case):
        return []  # the training ended early, and the probabilities grow as it learns
    else:
        why, instead = _held_back(case)
        cause = f"the model is right more often than it says: {why}"
        fix = f"{divide}{instead}"
    evidence: Evidence = {
        "mean_probability_of_the_answer": float(sure.mean()),
        "share_of_right_answers": right,
        "difference_in_standard_deviations": gap / spread,
        "expected_calibration_error": calibration_error(target, p),
        "best_temperature": best,
        "log_loss": likelihood(p, target),
        "log_loss_at_the_temperature": likelihood(p, target, best),
        "examples": len(p),
    }
    return [Finding(NAME, "validation", evidence, cause, fix)]


def _smoothing(case: Case) -> float:
    loss = case.model.loss
    return loss.label_smoothing if isinstance(loss, SoftmaxCrossEntropy | AuxiliaryCrossEntropy) else 0.0


def _changed(case: Case) -> bool:
    """Return whether the model's loss on training examples is worse than it was on average in the last epoch."""
    losses = case.column("train_loss")
    return bool(losses) and case.train_predictions.loss > WORSE * losses[-1]


def _held_back(case: Case) -> tuple[str, str]:
    """Return what keeps the probabilities low, of what there is, and what to do besides a temperature."""
    smoothing, dropout, there = _smoothing(case), case.dropout, case.validation_predictions
    if smoothing:
        return f"label smoothing of {smoothing:g} holds it back", ", or smooth the labels less"
    if _changed(case):
        return "its loss is higher than it was in training, so its outputs became smaller after that", ""
    if there is not None and there.accuracy - case.train_predictions.accuracy > FALSE and not dropout:
        return (
            "training labels are wrong more often than those of validation, and taught it to doubt",
            ", and look at the training labels that it disagrees with",
        )
    if case.model.regularizers:
        return "a regularizer keeps its outputs small", ", or make the regularizer weaker"
    if dropout:
        return f"dropout of {dropout:g} makes it learn with less than it is asked with", ", or take less dropout"
    return "its outputs are too small" if case.history else "its outputs are small, as after a short training", ""


NAME = "miscalibration"
CHECK = Check(NAME, look, unseen=MIN_EXAMPLES, trained=True)
