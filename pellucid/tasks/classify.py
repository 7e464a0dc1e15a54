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
    classes = _classes(model)
    x = read_picture(model, picture)
    scores = model.predict(x[None])[0]  # (classes,)
    if len(scores) == 1:
        scores = torch.cat([1 - scores, scores])
    best = int(scores.argmax())
    named = dict(zip(classes, scores.tolist(), strict=True))
    return Prediction(str(picture), classes[best], named[classes[best]], named)


def evaluate(model: Model, data: str | None = None) -> dict[str, Any]:
    """Measure a model on held-out images; see `held_out` for which.

    Returns accuracy, loss, n, the name of the data, and for each class its name, its number of images and the
    share of them that was found.
    """
    _classes(model)
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


def _classes(model: Model) -> tuple[str, ...]:
    """Return the name of each class that a model tells from the others; PellucidError where it does not."""
    outputs = model.output_shape
    if len(outputs) != 1 or not isinstance(outputs[0], int):
        raise PellucidError(f"the model puts out {outputs} for an image, no classes; give a classifier")
    count = max(2, outputs[0])  # one output tells two classes apart
    classes = tuple(model.classes or map(str, range(count)))
    if len(classes) != count:
        raise PellucidError(
            f"the model puts out {outputs[0]} values, but names {len(classes)} classes ({', '.join(classes):.80}); "
            "train it again with one output for each class"
        )
    return classes
