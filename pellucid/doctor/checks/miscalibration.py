"""Predicted probabilities that are far higher than the fraction of correct predictions: overconfidence."""

from pellucid.calibration.confidence import fit_temperature, negative_log_likelihood
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.metrics import calibration_error

MIN_EXAMPLES = 200  # for fewer, the calibration error of 15 bins is biased upwards by several percent
MIN_DEVIATIONS = 4.0  # standard deviations of the accuracy; with correct probabilities, 1 gap in 16,000 is larger
# Largest acceptable temperature. Guo et al. 2017 report 1 to 3; up to 2 is usual. At
# 2, logits are twice as large as they should be: a prediction that is correct 9 times in 10 has a probability of 99 %.
MAX_TEMPERATURE = 2.0
MIN_GAIN = 1.3  # log loss divided by the log loss at the best temperature, which is fitted to other examples


def find(case: Case) -> list[Finding]:
    """Compare the predicted probabilities with the fraction of correct predictions, on validation examples."""
    part = case.validation_sample
    if not case.classifies or part is None or len(part) < MIN_EXAMPLES:
        return []
    if case.loss == float("inf") or case.validation_predictions is None:
        return []
    p, target = case.validation_predictions.y, part.y
    if p.shape[1] < 2 or not bool(((p.sum(1) - 1).abs() < 1e-3).all()) or not bool((p >= 0).all()):
        return []  # the outputs are not probabilities
    if case.model.confidence is not None:
        p = case.model.confidence.calibrate(p)
    confidence, predicted = p.double().max(1)
    accuracy = float((predicted == target).double().mean())
    gap = float(confidence.mean()) - accuracy
    std = max(float((confidence * (1 - confidence)).sum()), 1.0) ** 0.5 / len(p)
    fit_half, score_half = slice(0, None, 2), slice(1, None, 2)
    temperature = fit_temperature(p[fit_half], target[fit_half])
    gain = negative_log_likelihood(p[score_half], target[score_half]) / max(
        negative_log_likelihood(p[score_half], target[score_half], temperature), 1e-12
    )
    if gap <= MIN_DEVIATIONS * std or temperature <= MAX_TEMPERATURE or gain <= MIN_GAIN:
        return []
    evidence: Evidence = {
        "mean_probability_of_the_answer": float(confidence.mean()),
        "share_of_right_answers": accuracy,
        "difference_in_standard_deviations": gap / std,
        "expected_calibration_error": calibration_error(target, p),
        "best_temperature": temperature,
        "log_loss": negative_log_likelihood(p, target),
        "log_loss_at_the_temperature": negative_log_likelihood(p, target, temperature),
        "examples": len(p),
    }
    return [Finding(NAME, "validation", evidence)]


NAME = "miscalibration"
CHECK = Check(NAME, find, validation_examples=MIN_EXAMPLES, trained=True)
