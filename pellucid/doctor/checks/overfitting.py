"""A model that predicts its training examples far better than validation examples."""

from math import sqrt

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.predictions import Predictions

MIN_GAP = 0.15  # training accuracy minus validation accuracy; 0.1 is common for small data sets
MIN_GAP_AFTER_RISE = 0.1  # if the validation loss rose as well
MIN_RISE = 1.5  # validation loss divided by its minimum over the epochs
MIN_TRAIN_ACCURACY = 0.5  # with less, the training examples are not memorized
MIN_DEVIATIONS = 3.0  # standard deviations of the difference of two accuracies
MIN_LOSS_RATIO = 3.0  # validation loss divided by training loss, for a regression


def find(case: Case) -> list[Finding]:
    """Compare the model's losses and accuracies on training and validation data, and the losses over the epochs."""
    if case.loss == float("inf") or case.validation_predictions is None or case.validation_sample is None:
        return []
    losses, on_train, on_validation = case.column("val_loss"), case.train_predictions, case.validation_predictions
    rise = on_validation.loss / min(losses) if losses and min(losses) > 0 else 1.0
    evidence: Evidence = {
        "examples": len(case.train),
        "train_loss": on_train.loss,
        "validation_loss": on_validation.loss,
        "validation_loss_over_its_minimum": rise,
    }
    if losses:
        evidence["epoch_of_the_minimum"] = losses.index(min(losses)) + 1
    if case.classifies:
        train, validation = on_train.accuracy, on_validation.accuracy
        std = sqrt(_variance(train, len(case.sample)) + _variance(validation, len(case.validation_sample)))
        min_gap = max(MIN_GAP if rise < MIN_RISE else MIN_GAP_AFTER_RISE, MIN_DEVIATIONS * std)
        is_wide = train >= MIN_TRAIN_ACCURACY and train - validation > min_gap
        evidence = {"train_accuracy": train, "validation_accuracy": validation, "gap": train - validation, **evidence}
    else:
        loss_of_mean = _loss_of_mean(case, on_validation)
        evidence["validation_loss_of_the_mean"] = loss_of_mean
        is_harmful = rise >= MIN_RISE or on_validation.loss > loss_of_mean
        is_wide = is_harmful and on_validation.loss > MIN_LOSS_RATIO * on_train.loss
    return [Finding(NAME, "validation", evidence)] if is_wide else []


def _loss_of_mean(case: Case, on_validation: Predictions) -> float:
    """Return the validation loss of a constant prediction, the mean training target; infinite if not a regression."""
    y, target = on_validation.y, on_validation.part.y
    if not case.compares or y.numel() != target.numel():
        return float("inf")
    mean = case.train.y.float().reshape(len(case.train), -1).mean(0).expand(len(y), -1).reshape(y.shape)
    return case.model.loss(mean, target)[0].item()


def _variance(fraction: float, n: int) -> float:
    """Return the variance of a fraction that is measured on n examples, at least 1 / n**2."""
    return max(fraction * (1 - fraction), 1 / n) / n


NAME = "overfitting"
CHECK = Check(NAME, find, validation_examples=1, trained=True)
