"""Class indices that differ between training data, validation data and model: off by one, swapped, or permuted."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from pellucid.doctor.case import Case, Predictions
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.simple_classifier import balanced_indices, count_correct
from pellucid.metrics.functions import confusion_matrix

MIN_SHIFTED_FRACTION = 0.5  # fraction of a class's validation examples that are predicted as one other class
MAX_UNSHIFTED_FRACTION = 0.25  # fraction of these examples that are predicted as their own class
# Fraction of a class's training examples that must be predicted correctly; at most MIN_SHIFTED_FRACTION / 4 may be
# predicted as the other class. For training labels shifted by one, also the minimum accuracy and the minimum mean
# probability of the labels.
MIN_CORRECT = 0.5
MIN_MEMBERS = 8  # validation examples of a class
MIN_ABOVE_CHANCE = 5.0  # standard deviations by which the accuracy on labels shifted by one must exceed chance
MIN_SHIFTED_CLASSES = 2 / 3  # fraction of the classes that must be shifted by the same number
CAUSES = {
    "swapped": "two classes are swapped in training or validation data, as if their folders had been exchanged",
    "permuted": "training and validation data number their classes in different orders, as if folders were listed "
    "unsorted",
}
CAUSE_OF_OFFSET = (
    "the class indices of the training or the validation data begin at another number, such as 1 instead of 0"
)


def find(case: Case) -> list[Finding]:
    """Compare the confusion matrices on training and validation data, of the model and of a simple classifier.

    If they agree, compare the labels with the model's predictions, because its class indices may be shifted relative to
    the labels of both.
    """
    if not case.classifies or any(int(data.y.min()) < 0 for data in (case.train, case.validation) if data is not None):
        return []
    for judge_name, train, validation in _both_confusions(case):
        shifted_classes = _shifted_classes(train, validation)
        if len(shifted_classes) >= 2 and (kind := _shift_kind(shifted_classes, validation)):
            return [_finding(judge_name, train, validation, shifted_classes, kind)]
    return [] if case.class_predictions is None else _findings_of_shift_by_one(case.class_predictions[0])


def _findings_of_shift_by_one(predictions: Predictions) -> list[Finding]:
    """Compare the predictions with the training labels, unchanged and shifted by one in either direction."""
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


def _both_confusions(case: Case) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the name of a classifier, and its confusion matrices on training and validation data, (K, K) each."""
    validation = case.validation
    if validation is None:
        return
    on_train, on_validation = case.class_predictions or (None, None)
    if on_train is not None and on_validation is not None:
        pairs = ((predicted.examples.y, predicted.classes) for predicted in (on_train, on_validation))
        yield "the model", *_confusion_matrices(*pairs)
    classifier = case.simple_classifier
    if classifier is not None and len(indices := balanced_indices(validation.y, case.model.seed, classifier.classes)):
        pair = validation.y[indices], classifier.predict(validation.x[indices])
        train_pair = classifier.y, classifier.leave_one_out_predictions
        yield "a simple classifier", *_confusion_matrices(train_pair, pair)


def _confusion_matrices(train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the confusion matrices, (K, K) each, of pairs of labels and predictions."""
    n_classes = 1 + max(int(values.max()) for values in (*train, *validation))
    return confusion_matrix(*train, n_classes), confusion_matrix(*validation, n_classes)


def _shifted_classes(train: Tensor, validation: Tensor) -> dict[int, int]:
    """Return, for each class whose validation examples are mostly predicted as one other class, that other class."""
    shifted_classes: dict[int, int] = {}
    for label, (row, train_row) in enumerate(zip(validation, train, strict=True)):
        n, n_train, other = int(row.sum()), max(int(train_row.sum()), 1), int(row.argmax())
        if n < MIN_MEMBERS or other == label:
            continue
        is_learned = (
            float(train_row[label]) >= MIN_CORRECT * n_train
            and float(train_row[other]) <= MIN_SHIFTED_FRACTION / 4 * n_train
        )
        is_shifted = row[other] >= MIN_SHIFTED_FRACTION * n and row[label] <= MAX_UNSHIFTED_FRACTION * n
        if is_learned and is_shifted:
            shifted_classes[label] = other
    return shifted_classes


def _shift_kind(shifted_classes: dict[int, int], confusions: Tensor) -> str:
    """Return how the labels differ: "swapped", "off by n" or "permuted", or "" if none of these describes it."""
    if len(set(shifted_classes.values())) < len(shifted_classes):
        return ""
    n_classes = len(confusions)
    n_large = int((confusions.sum(1) >= MIN_MEMBERS).sum())
    shifts = {(label - other) % n_classes for label, other in shifted_classes.items()}
    is_permutation = set(shifted_classes) == set(shifted_classes.values())
    if is_permutation and len(shifted_classes) == 2:
        return "swapped"
    if len(shifts) == 1 and len(shifted_classes) >= MIN_SHIFTED_CLASSES * n_large:
        shift = shifts.pop()
        return f"off by {shift if shift <= n_classes // 2 else shift - n_classes}"
    return "permuted" if is_permutation else ""


def _finding(judge_name: str, train: Tensor, validation: Tensor, shifted_classes: dict[int, int], kind: str) -> Finding:
    other_classes = torch.tensor([shifted_classes.get(label, label) for label in range(len(validation))])
    total = int(validation.sum())

    def move_back(case: Case) -> Case:
        data = case.validation
        return replace(case, validation=data and replace(data, y=other_classes.to(data.y.device)[data.y]))

    return Finding(
        NAME,
        "validation",
        evidence={
            "judged_by": judge_name,
            "labels_are": kind,
            "classes_that_moved": len(shifted_classes),
            "which": ", ".join(f"{label} -> {other}" for label, other in shifted_classes.items()),
            "right_on_train": float(train.diagonal().sum()) / int(train.sum()),
            "right_on_validation": float(validation.diagonal().sum()) / total,
            "right_if_they_are_moved_back": float(validation[:, other_classes].trace()) / total,
        },
        cause=CAUSES.get(kind, CAUSE_OF_OFFSET),
        fix="use one list of classes for training and validation data, and take the class indices from it",
        remedy=Remedy("validation labels moved back", move_back, "moved-back"),
    )


NAME = "shifted-labels"
CHECK = Check(
    NAME, find, examples=MIN_MEMBERS, finds_faults=True,
    explains=("confused-labels", "overfitting", "underfitting", "class-imbalance"),
)  # fmt: skip
