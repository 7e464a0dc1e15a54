"""Class indices of the data that are off by one from those of the model."""

import torch

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.simple_classifier import count_correct

MAX_UNSHIFTED_FRACTION = 0.25  # fraction of the training examples that are predicted as their own class
MIN_CORRECT = 0.5  # accuracy, and mean probability, of the labels shifted by one
MIN_MEMBERS = 8  # training examples
MIN_ABOVE_CHANCE = 5.0  # standard deviations by which the accuracy on labels shifted by one must exceed chance


def find(case: Case) -> list[Finding]:
    """Compare the model's predictions with the training labels, unchanged and shifted by one in either direction."""
    if not case.classifies or case.class_predictions is None or int(case.train.y.min()) < 0:
        return []
    predictions = case.class_predictions[0]
    n_classes, y = max(predictions.y.shape[1], 2), predictions.examples.y  # a single output distinguishes two classes
    unshifted_count = count_correct(predictions.classes, y)
    shifted_counts = {shift: count_correct(predictions.classes, (y - shift) % n_classes) for shift in (1, -1)}
    shift = max(shifted_counts, key=lambda offset: shifted_counts[offset].right)
    shifted_count = shifted_counts[shift]
    is_certain = shifted_count.accuracy >= MIN_CORRECT and shifted_count.deviations_above_chance >= MIN_ABOVE_CHANCE
    if unshifted_count.accuracy > MAX_UNSHIFTED_FRACTION or not is_certain:
        return []
    probabilities = predictions.y if predictions.y.shape[1] > 1 else torch.cat([1 - predictions.y, predictions.y], 1)
    if float(probabilities.gather(1, ((y - shift) % n_classes)[:, None]).mean()) < MIN_CORRECT:
        return []  # a network that has hardly learned predicts such low probabilities
    return [
        Finding(
            NAME,
            "train",
            evidence={
                "labels_are": f"off by {shift}",
                "right_on_train": unshifted_count.accuracy,
                "right_if_they_are_moved_back": shifted_count.accuracy,
                "examples": unshifted_count.n,
            },
            cause="the class indices begin at another number than those that the model was trained on, such as 1 "
            "instead of 0",
            fix="use the model's class indices in all parts of the data",
        )
    ]


NAME = "shifted-labels"
CHECK = Check(
    NAME, find, examples=MIN_MEMBERS, finds_faults=True,
    explains=("confused-labels", "overfitting", "underfitting", "class-imbalance"),
)  # fmt: skip
