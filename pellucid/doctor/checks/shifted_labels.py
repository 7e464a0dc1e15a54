"""Labels of one part that mean something else in the other: off by one, two classes swapped, or permuted."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Number, Remedy
from pellucid.doctor.measure.answered import answered
from pellucid.doctor.measure.simple import drawn

MOVED = 0.5  # of a class's validation examples get one and the same other label
LEFT = 0.25  # and no more than these get their own
RIGHT = 0.5  # of its training examples are recognised, and MOVED / 4 at most are taken for the other
ENOUGH = 8  # validation examples of a class
ALL = 2 / 3  # of the classes, that must be off by the same number where some fell off the end


@dataclass(frozen=True, eq=False)
class _Judge:
    """Who looked, and its confusion of labels (rows) with guesses, in the parts: (K, K) counts."""

    name: str
    train: Tensor
    held: Tensor


def look(case: Case) -> list[Finding]:
    """Compare what the model, and a simple classifier, confuse in training with what they confuse in validation."""
    if not case.classifies or case.validation is None or int(min(case.train.y.min(), case.validation.y.min())) < 0:
        return []
    for judge in _judges(case):
        moved = _moved(judge)
        if len(moved) >= 2 and (kind := _kind(moved, judge)):
            return [_finding(judge, moved, kind)]
    return []


def _judges(case: Case) -> Iterator[_Judge]:
    if case.validation is None:
        return
    both = answered(case)
    if both is not None and both[1] is not None:
        yield _judge("the model", *((seen.part.y, seen.classes) for seen in (both[0], both[1])))
    train, held = case.simple, case.validation
    if train is not None and len(places := drawn(held.y, case.model.seed, train.classes)):
        yield _judge("a simple classifier", (train.y, train.held_out), (held.y[places], train.told(held.x[places])))


def _judge(name: str, *parts: tuple[Tensor, Tensor]) -> _Judge:
    count = 1 + max(int(values.max()) for pair in parts for values in pair)
    train, held = ((y * count + told).bincount(minlength=count**2).reshape(count, count) for y, told in parts)
    return _Judge(name, train, held)


def _moved(judge: _Judge) -> dict[int, int]:
    """Return the classes whose validation examples are something else, and what."""
    moved: dict[int, int] = {}
    for label, row in enumerate(judge.held.double()):
        n, usual = float(row.sum()), judge.train[label].double()
        if n < ENOUGH:
            continue
        other = int(row.argmax())
        shares = usual / usual.sum().clamp_min(1)
        known = float(shares[label]) >= RIGHT and float(shares[other]) <= MOVED / 4
        if other != label and known and float(row[other]) >= MOVED * n and float(row[label]) <= LEFT * n:
            moved[label] = other
    return moved


def _kind(moved: dict[int, int], judge: _Judge) -> str:
    """Return what the change of labels is, or nothing where it is no permutation."""
    if len(set(moved.values())) < len(moved):
        return ""
    count = len(judge.held)
    asked = int((judge.held.sum(1) >= ENOUGH).sum())
    by = {(label - other) % count for label, other in moved.items()}
    circle = set(moved) == set(moved.values())
    if circle and len(moved) == 2:
        return "swapped"
    if len(by) == 1 and len(moved) >= ALL * asked:
        shift = by.pop()
        return f"off by {shift if shift <= count // 2 else shift - count}"
    return "permuted" if circle else ""


def _finding(judge: _Judge, moved: dict[int, int], kind: str) -> Finding:
    total, classes = int(judge.held.sum()), torch.arange(len(judge.held))
    meant = torch.tensor([moved.get(label, label) for label in classes.tolist()])
    evidence: dict[str, Number] = {
        "judged_by": judge.name,
        "labels_are": kind,
        "classes_that_moved": len(moved),
        "which": ", ".join(f"{label} -> {other}" for label, other in moved.items()),
        "right_on_train": float(judge.train.diagonal().sum()) / int(judge.train.sum()),
        "right_on_validation": float(judge.held.diagonal().sum()) / total,
        "right_if_they_are_moved_back": float(judge.held[classes, meant].sum()) / total,
    }
    causes = {
        "swapped": "two classes changed places between the parts, as when their folders or files were exchanged",
        "permuted": "the parts number their classes in different orders, as when folders were listed unsorted",
    }

    def back(case: Case) -> Case:
        held = case.validation
        if held is None:
            return case
        return replace(case, validation=replace(held, y=meant.to(held.y.device)[held.y]))

    return Finding(
        NAME,
        "validation",
        evidence,
        causes.get(kind, "one part counts its classes from another number, 1 instead of 0 say"),
        "give both parts one list of classes, and take each label's number from it",
        Remedy("validation labels moved back", back),
    )


NAME = "shifted-labels"
CHECK = Check(
    NAME,
    "Labels of one part are off by one, swapped or permuted against the other.",
    look,
    explains=("overfitting", "underfitting", "miscalibration", "class-imbalance"),
)
