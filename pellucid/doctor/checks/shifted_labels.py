"""Class indices that differ between training data, validation data and model: off by one, swapped, or permuted."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.predictions import Predictions
from pellucid.doctor.remedies import with_validation
from pellucid.doctor.simple import balanced, hits
from pellucid.metrics.functions import confusion_matrix

MIN_MOVED = 0.5  # fraction of a class's validation examples that are predicted as one other class
MAX_KEPT = 0.25  # fraction of them that are predicted as their own class
# Fraction of a class's training examples that must be predicted correctly; at most MIN_MOVED / 4 may be predicted as
# the other class. Also the minimum accuracy on training labels shifted by one, and their minimum mean probability.
MIN_RIGHT = 0.5
MIN_MEMBERS = 8  # validation examples of a class
MIN_ABOVE_CHANCE = 5.0  # standard deviations above chance, of the accuracy on labels shifted by one
MIN_SHIFTED = 2 / 3  # fraction of the classes that must be shifted by the same number


@dataclass(frozen=True, eq=False)
class _Confusions:
    """A classifier, and its confusion matrices on training and validation data, labels by predictions, (K, K)."""

    name: str
    train: Tensor
    validation: Tensor


def look(case: Case) -> list[Finding]:
    """Compare the confusion matrices on training and validation data, of the model and of a simple classifier.

    If they agree, compare the labels with the model's predictions: its class indices may differ from those of the data.
    """
    if not case.classifies or any(int(part.y.min()) < 0 for part in (case.train, case.validation) if part is not None):
        return []
    for judge in _judges(case):
        moved = _moved(judge)
        if len(moved) >= 2 and (kind := _kind(moved, judge)):
            return [_finding(judge, moved, kind)]
    return [] if case.class_predictions is None else _all_moved(case.class_predictions[0])


def _all_moved(predictions: Predictions) -> list[Finding]:
    """Compare the predictions with the training labels, unchanged and shifted by one in either direction."""
    count, y = max(predictions.y.shape[1], 2), predictions.part.y  # a single output distinguishes two classes
    unshifted = hits(predictions.classes, y)
    shifted = {move: hits(predictions.classes, (y - move) % count) for move in (1, -1)}
    move = max(shifted, key=lambda move: shifted[move].right)
    best = shifted[move]
    if unshifted.accuracy > MAX_KEPT or best.accuracy < MIN_RIGHT or best.deviations_above_chance < MIN_ABOVE_CHANCE:
        return []
    p = predictions.y if predictions.y.shape[1] > 1 else torch.cat([1 - predictions.y, predictions.y], 1)
    if float(p.gather(1, ((y - move) % count)[:, None]).mean()) < MIN_RIGHT:
        return []  # low probabilities, as from a network that has hardly learned
    evidence: Evidence = {
        "labels_are": f"off by {move}",
        "right_on_train": unshifted.accuracy,
        "right_if_they_are_moved_back": best.accuracy,
        "examples": unshifted.n,
    }
    cause = "the class indices begin at another number than those that the model was trained on, such as 1 instead of 0"
    fix = "use the model's class indices in all parts of the data"
    return [Finding(NAME, "train", evidence, cause, fix)]


def _judges(case: Case) -> Iterator[_Confusions]:
    if case.validation is None:
        return
    train, validation = case.class_predictions or (None, None)
    if train is not None and validation is not None:
        yield _judge("the model", (train.part.y, train.classes), (validation.part.y, validation.classes))
    simple, part = case.simple, case.validation
    if simple is not None and len(indices := balanced(part.y, case.model.seed, simple.classes)):
        predicted = simple.predict(part.x[indices])
        yield _judge("a simple classifier", (simple.y, simple.leave_one_out_predictions), (part.y[indices], predicted))


def _judge(name: str, *parts: tuple[Tensor, Tensor]) -> _Confusions:
    count = 1 + max(int(values.max()) for pair in parts for values in pair)
    return _Confusions(name, *(confusion_matrix(y, predicted, count) for y, predicted in parts))


def _moved(judge: _Confusions) -> dict[int, int]:
    """Return the classes whose validation examples are mostly predicted as another class, and that class."""
    moved: dict[int, int] = {}
    for label, row in enumerate(judge.validation.double()):
        n, train = float(row.sum()), judge.train[label].double()
        if n < MIN_MEMBERS:
            continue
        other = int(row.argmax())
        fractions = train / train.sum().clamp_min(1)
        learned = float(fractions[label]) >= MIN_RIGHT and float(fractions[other]) <= MIN_MOVED / 4
        if other != label and learned and float(row[other]) >= MIN_MOVED * n and float(row[label]) <= MAX_KEPT * n:
            moved[label] = other
    return moved


def _kind(moved: dict[int, int], judge: _Confusions) -> str:
    """Return how the labels differ: "swapped", "off by n" or "permuted"; "" if in none of these ways."""
    if len(set(moved.values())) < len(moved):
        return ""
    count = len(judge.validation)
    large = int((judge.validation.sum(1) >= MIN_MEMBERS).sum())
    shifts = {(label - other) % count for label, other in moved.items()}
    is_permutation = set(moved) == set(moved.values())
    if is_permutation and len(moved) == 2:
        return "swapped"
    if len(shifts) == 1 and len(moved) >= MIN_SHIFTED * large:
        shift = shifts.pop()
        return f"off by {shift if shift <= count // 2 else shift - count}"
    return "permuted" if is_permutation else ""


def _finding(judge: _Confusions, moved: dict[int, int], kind: str) -> Finding:
    classes = torch.arange(len(judge.validation))
    corrected = torch.tensor([moved.get(label, label) for label in classes.tolist()])
    total = int(judge.validation.sum())
    evidence: Evidence = {
        "judged_by": judge.name,
        "labels_are": kind,
        "classes_that_moved": len(moved),
        "which": ", ".join(f"{label} -> {other}" for label, other in moved.items()),
        "right_on_train": float(judge.train.diagonal().sum()) / int(judge.train.sum()),
        "right_on_validation": float(judge.validation.diagonal().sum()) / total,
        "right_if_they_are_moved_back": float(judge.validation[classes, corrected].sum()) / total,
    }
    causes = {
        "swapped": "two classes are swapped in training or validation data, as if their folders had been exchanged",
        "permuted": "training and validation data number their classes in different orders, as if folders were listed "
        "unsorted",
    }
    start = "the class indices of the training or the validation data begin at another number, such as 1 instead of 0"
    cause = causes.get(kind, start)
    fix = "use one list of classes for training and validation data, and take the class indices from it"

    def move_back(case: Case) -> Case:
        return with_validation(case, lambda part: replace(part, y=corrected.to(part.y.device)[part.y]))

    return Finding(NAME, "validation", evidence, cause, fix, Remedy("validation labels moved back", move_back))


NAME = "shifted-labels"
CHECK = Check(
    NAME, look, examples=MIN_MEMBERS, direct=True,
    explains=("confused-labels", "overfitting", "underfitting", "miscalibration", "class-imbalance"),
)  # fmt: skip
