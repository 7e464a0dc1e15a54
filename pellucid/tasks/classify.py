"""Classification of picture files, and evaluation on held-out images."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.calibration.familiarity import FamiliarityScore, farthest
from pellucid.errors import PellucidError
from pellucid.metrics import (
    calibration_error,
    class_scores,
    classes_of,
    confusion_matrix,
    f1,
    macro_f1,
    precision,
    recall,
)
from pellucid.model import Model
from pellucid.tasks.confidence import fit_confidence, selective
from pellucid.tasks.pictures import are_probabilities, believed, class_names, held_out, read_views, scored
from pellucid.training.evaluate import boundary, judge
from pellucid.training.examples import examples

# Tolerance of temperature and threshold: half-precision weights change them by less, other images by more.
SAME = 0.01


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for one picture: the likeliest class, and the output for each (calibrated, if fitted).

    output: of the likeliest class. are_probabilities: whether the outputs are, or only scores such as logits.
    familiarity: the distance of the picture from the training data, None for a model without familiarity.
    """

    name: str
    label: str
    output: float
    outputs: dict[str, float]
    are_probabilities: bool
    familiarity: FamiliarityScore | None = None


def predict(model: Model, picture: str | Path) -> Prediction:
    """Classify a picture of any size; see `read_views` for its preprocessing."""
    classes = class_names(model)
    views = read_views(model, picture)
    found = model.predict(views[:1])
    known = are_probabilities(model, found)
    scores = (believed if known else scored)(model, found)[0]  # (classes,)
    best = int(scores.argmax())
    named = dict(zip(classes, scores.tolist(), strict=True))
    return Prediction(str(picture), classes[best], named[classes[best]], named, known, farthest(model, views))


def evaluate(model: Model, data: str | None = None) -> dict[str, Any]:
    """Measure a model on held-out images; see `held_out` for which.

    Images that the loss ignores are left out. Returns accuracy, macro_f1 (over the classes that have images or were
    predicted), loss, n, the name of the data, `skipped` (the files that could not be read), and for each class its
    name, number of images, accuracy and recall (both the share that was found), precision and f1, each None where its
    denominator is 0.
    ece: the expected calibration error, of calibrated outputs if the model has a confidence, None where outputs are not
    probabilities. confidence: None, or the fitted numbers with coverage (the share of the images that is not "unsure"),
    the accuracy on those, and fitted_here: whether the numbers were fitted on these very images, so that coverage,
    accuracy and ece are too optimistic.
    """
    class_names(model)
    images = held_out(model, data)
    pairs = model.fitting(examples(images), images.name)
    with torch.inference_mode():
        loss, scores = judge(model, pairs)
    kept = model.loss.kept(images.y)
    y = images.y if kept is None else images.y[kept]
    if not len(y):
        raise PellucidError(f"the model's loss ignores all {len(images):,} images of {images.name}; give others")
    confusion = confusion_matrix(y, classes_of(scores, boundary(model.net, model.loss)), len(images.classes))
    return {
        "accuracy": int(confusion.diagonal().sum()) / len(y),
        "macro_f1": macro_f1(confusion),
        "loss": loss,
        "ece": _calibration(model, y, scores),
        "n": len(y),
        "data": images.name,
        "skipped": list(images.skipped),
        "confidence": _confidence(model, y, scores),
        "classes": _by_class(images.classes, confusion),
    }


def _by_class(classes: tuple[str, ...], confusion: Tensor) -> list[dict[str, Any]]:
    names = ("class", "n", "accuracy", "recall", "precision", "f1")
    there, said = confusion.sum(1), confusion.sum(0)
    found = _known(recall(confusion), there)
    others = _known(precision(confusion), said), _known(f1(confusion), there + said)
    columns = (classes, there.tolist(), found, found, *others)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _known(values: Tensor, counts: Tensor) -> list[float | None]:
    """Return the values, None where the count is 0."""
    return [value if count else None for value, count in zip(values.tolist(), counts.tolist(), strict=True)]


def _calibration(model: Model, target: Tensor, scores: Tensor) -> float | None:
    """Return the calibration error of the displayed probabilities; None for scores that are not probabilities."""
    return calibration_error(target, believed(model, scores)) if are_probabilities(model, scores) else None


def _confidence(model: Model, target: Tensor, scores: Tensor) -> dict[str, Any] | None:
    if model.confidence is None:
        return None
    scores, told = class_scores(scores), model.confidence.to_json()
    kept, again = selective(scores, target, model.confidence), fit_confidence(scores, target).to_json()
    same = all(math.isclose(told[name], again[name], rel_tol=SAME) for name in told)
    return {**told, "coverage": kept.coverage, "accuracy": kept.answered_accuracy, "fitted_here": same}
