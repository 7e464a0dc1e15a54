"""A model that predicts its training examples far better than validation examples."""

from dataclasses import replace
from math import sqrt

from pellucid.data.augment import Augment
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.remedies import rebuilt
from pellucid.task.traits import is_image

MIN_GAP = 0.15  # training accuracy minus validation accuracy; 0.1 is common for small data sets
MIN_GAP_AFTER_RISE = 0.1  # if the validation loss rose as well
MIN_RISE = 1.5  # validation loss divided by its minimum over the epochs
MIN_TRAIN_ACCURACY = 0.5  # with less, the training examples are not memorized
AUGMENT = Augment(rotate=10.0, shift=0.1, zoom=0.15, fill="nearest")
MIN_DEVIATIONS = 3.0  # standard deviations of the difference of two accuracies


def find(case: Case) -> list[Finding]:
    """Compare a classifier's accuracies on training and validation data, and the losses over the epochs."""
    if (
        not case.classifies
        or case.loss == float("inf")
        or case.validation_predictions is None
        or case.validation_sample is None
    ):
        return []
    losses, on_train, on_validation = case.column("val_loss"), case.train_predictions, case.validation_predictions
    loss_rise = on_validation.loss / min(losses) if losses and min(losses) > 0 else 1.0
    train, validation = on_train.accuracy, on_validation.accuracy
    std = sqrt(_variance(train, len(case.sample)) + _variance(validation, len(case.validation_sample)))
    min_gap = max(MIN_GAP if loss_rise < MIN_RISE else MIN_GAP_AFTER_RISE, MIN_DEVIATIONS * std)
    if train < MIN_TRAIN_ACCURACY or train - validation <= min_gap:
        return []
    evidence: Evidence = {
        "train_accuracy": train,
        "validation_accuracy": validation,
        "gap": train - validation,
        "examples": len(case.train),
        "train_loss": on_train.loss,
        "validation_loss": on_validation.loss,
        "validation_loss_over_its_minimum": loss_rise,
    }
    if losses:
        evidence["epoch_of_the_minimum"] = losses.index(min(losses)) + 1
    cause = (
        f"the network learns its training examples partly by heart: it predicts {train:.0%} of these "
        f"{len(case.train):,}, and {validation:.0%} of the validation examples"
    )
    can_augment = case.augment is None and is_image(case.sample.x)
    candidates = [
        f"end the training near epoch {evidence.get('epoch_of_the_minimum')}, where the validation loss is lowest"
        if loss_rise >= MIN_RISE else "compare some validation images with training images, since others may be shown",
        "add dropout or weight decay, or take a smaller network",
    ]  # fmt: skip
    if can_augment:
        candidates.insert(0, "augment the training images (shifts, small turns, zoom, brightness)")
    remedy = Remedy(
        "training images shifted, turned and zoomed a little",
        lambda case: replace(rebuilt(case), augment=AUGMENT),
        "augmentation",
    )
    return [Finding(NAME, "validation", evidence, cause, "; ".join(candidates), remedy if can_augment else None)]


def _variance(fraction: float, n: int) -> float:
    """Return the variance of a fraction that is measured on n examples, at least 1 / n**2."""
    return max(fraction * (1 - fraction), 1 / n) / n


NAME = "overfitting"
CHECK = Check(NAME, find, validation_examples=1, trained=True)
