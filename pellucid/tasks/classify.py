"""Classification: what a model says of a picture, and how often it is right."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pellucid.errors import PellucidError
from pellucid.metrics import confusion_matrix, recall
from pellucid.tasks.pictures import held_out, read_picture
from pellucid.train.evaluate import classes_of
from pellucid.train.model import Model


@dataclass(frozen=True)
class Prediction:
    """What a model says of one picture: the likeliest class, and the network's output for each class."""

    name: str
    label: str
    probability: float
    probabilities: dict[str, float]


def predict(model: Model, picture: str | Path) -> Prediction:
    """Classify a picture of any size; see `read_picture` for what becomes of it."""
    x = read_picture(model, picture)
    scores = model.predict(x[None])[0]  # (classes,)
    if scores.dim() != 1:
        raise PellucidError(f"the model puts out {tuple(scores.shape)} for an image, no classes; give a classifier")
    if len(scores) == 1:
        scores = torch.cat([1 - scores, scores])
    classes = model.classes or tuple(map(str, range(len(scores))))
    best = int(scores.argmax())
    named = dict(zip(classes, scores.tolist(), strict=True))
    return Prediction(str(picture), classes[best], named[classes[best]], named)


def evaluate(model: Model, data: str | None = None) -> dict[str, Any]:
    """Measure a model on held-out images; see `held_out` for which.

    Returns accuracy, loss, n, the name of the data, and for each class its name, its number of images and the
    share of them that was found.
    """
    images = held_out(model, data)
    found = model.evaluate(images)
    scores = model.predict(images)
    confusion = confusion_matrix(images.y, classes_of(scores), len(images.classes))
    each = zip(images.classes, confusion.sum(1).tolist(), recall(confusion).tolist(), strict=True)
    right = int(confusion.diagonal().sum())
    return {
        "accuracy": right / len(images),
        "loss": found["loss"],
        "n": len(images),
        "data": images.name,
        "classes": [{"class": name, "n": n, "accuracy": share} for name, n, share in each],
    }
