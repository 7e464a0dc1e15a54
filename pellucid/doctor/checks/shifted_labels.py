"""Class indices that differ between training data, validation data and model: off by one, swapped, or permuted."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.predictions import Predictions
from pellucid.doctor.remedies import with_validation
from pellucid.doctor.simple import balanced, confusion, hits

MOVED = 0.5  # smallest share of a class's validation examples that are predicted as one other class
KEPT = 0.25  # largest share of them that are predicted as their own class
RIGHT = 0.5  # smallest share of its training examples predicted correctly; at most MOVED / 4 as the other class
MIN_MEMBERS = 8  # validation examples of a class
MIN_ABOVE_CHANCE = 5.0  # standard deviations above chance, of the accuracy on labels shifted by one
SHIFTED = 2 / 3  # of the classes are shifted by the same number, if not all are


@dataclass(frozen=True, eq=False)
class _Judge:
    """A classifier, and its confusion matrices on training and validation data, labels by predictions, (K, K)."""

    name: str
    train: Tensor
    validation: Tensor


def look(case: Case) -> list[Finding]:
    """Compare confusions in training and validation data, of the model and of a simple classifier.

    If both parts agree, compare them with the model: its class indices may differ from those of the data.
    """
    if not case.classifies or any(int(part.y.min()) < 0 for part in (case.train, case.validation) if part is not None):
        return []
    for judge in _judges(case):
        moved = _moved(judge)
        if len(moved) >= 2 and (kind := _kind(moved, judge)):
            return [_finding(judge, moved, kind)]
    return [] if case.class_predictions is None else _all_moved(case.class_predictions[0])


def _all_moved(seen: Predictions) -> list[Finding]:
    """Compare the predictions with the training labels, unchanged and shifted by one in either direction."""
    count, y = max(seen.y.shape[1], 2), seen.part.y  # a single output tells two classes apart
    own = hits(seen.classes, y)
    by = {move: hits(seen.classes, (y - move) % count) for move in (1, -1)}
    move = max(by, key=lambda one: by[one].right)
    if own.share > KEPT or by[move].share < RIGHT or by[move].above < MIN_ABOVE_CHANCE:
        return []
    p = seen.y if seen.y.shape[1] > 1 else torch.cat([1 - seen.y, seen.y], 1)
    if float(p.gather(1, ((y - move) % count)[:, None]).mean()) < RIGHT:
        return []  # low probabilities, as of a network that has hardly learned
    evidence: Evidence = {
        "labels_are": f"off by {move}",
        "right_on_train": own.share,
        "right_if_they_are_moved_back": by[move].share,
        "examples": own.n,
    }
    cause = (
        "these labels number the classes from another start than those that the model was trained on, 1 instead of 0"
    )
    fix = "number the labels as the model does, in all parts of the data"
    return [Finding(NAME, "train", evidence, cause, fix)]


def _judges(case: Case) -> Iterator[_Judge]:
    if case.validation is None:
        return
    train, validation = case.class_predictions or (None, None)
    if train is not None and validation is not None:
        yield _judge("the model", (train.part.y, train.classes), (validation.part.y, validation.classes))
    simple, part = case.simple, case.validation
    if simple is not None and len(indices := balanced(part.y, case.model.seed, simple.classes)):
        guesses = simple.predict(part.x[indices])
        yield _judge("a simple classifier", (simple.y, simple.held_out), (part.y[indices], guesses))


def _judge(name: str, *parts: tuple[Tensor, Tensor]) -> _Judge:
    count = 1 + max(int(values.max()) for pair in parts for values in pair)
    return _Judge(name, *(confusion(y, guesses, count) for y, guesses in parts))


def _moved(judge: _Judge) -> dict[int, int]:
    """Return the classes whose validation examples are predicted as another class, with that class."""
    moved: dict[int, int] = {}
    for label, row in enumerate(judge.validation.double()):
        n, usual = float(row.sum()), judge.train[label].double()
        if n < MIN_MEMBERS:
            continue
        other = int(row.argmax())
        shares = usual / usual.sum().clamp_min(1)
        known = float(shares[label]) >= RIGHT and float(shares[other]) <= MOVED / 4
        if other != label and known and float(row[other]) >= MOVED * n and float(row[label]) <= KEPT * n:
            moved[label] = other
    return moved


def _kind(moved: dict[int, int], judge: _Judge) -> str:
    """Return the kind of change of the labels, "" if it is not a permutation."""
    if len(set(moved.values())) < len(moved):
        return ""
    count = len(judge.validation)
    large = int((judge.validation.sum(1) >= MIN_MEMBERS).sum())
    by = {(label - other) % count for label, other in moved.items()}
    circle = set(moved) == set(moved.values())
    if circle and len(moved) == 2:
        return "swapped"
    if len(by) == 1 and len(moved) >= SHIFTED * large:
        shift = by.pop()
        return f"off by {shift if shift <= count // 2 else shift - count}"
    return "permuted" if circle else ""


def _finding(judge: _Judge, moved: dict[int, int], kind: str) -> Finding:
    classes = torch.arange(len(judge.validation))
    meant = torch.tensor([moved.get(label, label) for label in classes.tolist()])
    total = int(judge.validation.sum())
    evidence: Evidence = {
        "judged_by": judge.name,
        "labels_are": kind,
        "classes_that_moved": len(moved),
        "which": ", ".join(f"{label} -> {other}" for label, other in moved.items()),
        "right_on_train": float(judge.train.diagonal().sum()) / int(judge.train.sum()),
        "right_on_validation": float(judge.validation.diagonal().sum()) / total,
        "right_if_they_are_moved_back": float(judge.validation[classes, meant].sum()) / total,
    }
    causes = {
        "swapped": "two classes changed places between the parts, as when their folders or files were exchanged",
        "permuted": "the parts number their classes in different orders, as when folders were listed unsorted",
    }
    cause = causes.get(kind, "one part numbers its classes from another start, such as 1 instead of 0")
    fix = "use one list of classes for both parts, and take the class indices from it"

    def back(case: Case) -> Case:
        return with_validation(case, lambda part: replace(part, y=meant.to(part.y.device)[part.y]))

    return Finding(NAME, "validation", evidence, cause, fix, Remedy("validation labels moved back", back))


NAME = "shifted-labels"
CHECK = Check(
    NAME, look, examples=MIN_MEMBERS, proven=True,
    explains=("confused-labels", "overfitting", "underfitting", "miscalibration", "class-imbalance"),
)  # fmt: skip
