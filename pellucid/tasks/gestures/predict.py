"""Predictions for pictures of gestures: a class, or "unsure"."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.calibration.familiarity import FamiliarityScore, familiarity_scores
from pellucid.model import Model
from pellucid.tasks.pictures import calibrated_probabilities, class_names, read_picture

UNSURE = "unsure"  # text of an answer that is None; it is not the answer itself, since a class may have this name
UNCALIBRATED_NOTE = "the model has no fitted confidence, so no answer is unsure"
BATCH_SIZE = 64  # pictures in memory at a time


@dataclass(frozen=True)
class Answer:
    """A model's prediction for one picture: a class, or None if it is unsure.

    name: of the picture. label: the class with the highest probability, even if the answer is None. probability: its
    calibrated probability. probabilities: of each class. familiarity: the distance of the picture from the training
    data, None for a model without familiarity.
    """

    name: str
    answer: str | None
    label: str
    probability: float
    probabilities: dict[str, float]
    familiarity: FamiliarityScore | None = None

    @property
    def text(self) -> str:
        """The answer as text."""
        return UNSURE if self.answer is None else self.answer

    def top_classes(self, count: int) -> list[tuple[str, float]]:
        """Return the `count` classes with the highest probabilities, and their probabilities."""
        return sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:count]


def predict(
    model: Model, pictures: Sequence[str | Path], faults: dict[str, PellucidError] | None = None
) -> list[Answer]:
    """Classify picture files of any size; below the threshold of `model.confidence`, if any, the answer is None.

    faults: a dict into which the error of each file that cannot be read is written, and the other files are classified;
    if it is None, such a file raises PellucidError. Also raises PellucidError for a model that is not a classifier.
    """
    classes, threshold = class_names(model), threshold_of(model)
    answers: list[Answer] = []
    for start in range(0, len(pictures), BATCH_SIZE):
        batch = pictures[start : start + BATCH_SIZE]
        inputs: list[tuple[str, Tensor]] = []
        for picture in batch:
            try:
                inputs.append((str(picture), read_picture(model, picture)))
            except PellucidError as error:
                if faults is None:
                    raise
                faults[str(picture)] = error
        if inputs:
            x = torch.stack([picture for _, picture in inputs])
            rows = calibrated_probabilities(model, model.predict(x))  # (n, classes)
            for (name, _), row, familiarity in zip(inputs, rows, familiarity_scores(model, x), strict=True):
                answers.append(replace(answer_of(name, classes, row, threshold), familiarity=familiarity))
    return answers


def answer_of(name: str, classes: Sequence[str], probabilities: Tensor, threshold: float) -> Answer:
    """Return the answer for one row of calibrated probabilities (C,)."""
    values = probabilities.double().tolist()  # float64, like the threshold
    top_index = max(range(len(values)), key=values.__getitem__)
    answer = classes[top_index] if values[top_index] >= threshold else None
    return Answer(name, answer, classes[top_index], values[top_index], dict(zip(classes, values, strict=True)))


def threshold_of(model: Model) -> float:
    """Return the probability below which a model is unsure; 0 (never unsure) without calibration."""
    return 0.0 if model.confidence is None else model.confidence.threshold
