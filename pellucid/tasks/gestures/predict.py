"""What a model says of pictures of gestures: a class, or that it is unsure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pellucid.tasks.classes import believed, class_names
from pellucid.tasks.pictures import read_picture
from pellucid.train.model import Model

UNSURE = "unsure"  # what people read; in values it is None, since a class may be called so
BATCH = 64  # pictures in memory at a time


@dataclass(frozen=True)
class Answer:
    """What a model says of one picture: a class, or None where it is unsure.

    label: the likeliest class, sure or not, and its calibrated probability; probabilities: of each class.
    """

    name: str
    answer: str | None
    label: str
    probability: float
    probabilities: dict[str, float]

    @property
    def text(self) -> str:
        """The answer as people read it."""
        return UNSURE if self.answer is None else self.answer

    def best(self, count: int) -> list[tuple[str, float]]:
        """Return the likeliest classes with their probabilities."""
        return sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:count]


def predict(model: Model, pictures: Sequence[str | Path]) -> list[Answer]:
    """Classify picture files of any size; "unsure" below the threshold of `model.confidence`, if it has one.

    Raises PellucidError, naming the file, for one that cannot be read, and for a model that is no classifier.
    """
    classes, threshold = class_names(model), threshold_of(model)
    found: list[Answer] = []
    for start in range(0, len(pictures), BATCH):
        some = pictures[start : start + BATCH]
        x = torch.stack([read_picture(model, picture) for picture in some])  # (n, C, H, W)
        rows = believed(model, model.predict(x))  # (n, classes)
        found += [answer_of(str(name), classes, row, threshold) for name, row in zip(some, rows, strict=True)]
    return found


def answer_of(name: str, classes: Sequence[str], probabilities: Tensor, threshold: float) -> Answer:
    """Read one row of calibrated probabilities (C,) as an answer."""
    values = probabilities.double().tolist()  # float64, as the threshold is
    best = max(range(len(values)), key=values.__getitem__)
    answer = classes[best] if values[best] >= threshold else None
    return Answer(name, answer, classes[best], values[best], dict(zip(classes, values, strict=True)))


def threshold_of(model: Model) -> float:
    """Return the probability below which a model is unsure; 0 (never) where none was fitted."""
    return 0.0 if model.confidence is None else model.confidence.threshold
