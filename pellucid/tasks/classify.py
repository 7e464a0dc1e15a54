"""Classification: what a model says of a picture, and how often it is right."""

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
from pellucid.tasks.pictures import believed, class_names, held_out, read_views
from pellucid.training.evaluate import boundary, judge
from pellucid.training.examples import examples

ROUNDING = 1e-6  # of sums of float32 probabilities
# Of temperature and threshold: weights kept in half precision move them by less, and other images move them by more.
SAME = 0.01


@dataclass(frozen=True)
class Prediction:
    """What a model says of one picture: the likeliest class, and the output for each (calibrated, if fitted).

    familiarity: how far the picture is from the training data, None where the model does not know.
    """

    name: str
    label: str
    probability: float
    probabilities: dict[str, float]
    familiarity: FamiliarityScore | None = None


def predict(model: Model, picture: str | Path) -> Prediction:
    """Classify a picture of any size; see `read_views` for what becomes of it."""
    classes = class_names(model)
    views = read_views(model, picture)
    scores = believed(model, model.predict(views[:1]))[0]  # (classes,)
    best = int(scores.argmax())
    named = dict(zip(classes, scores.tolist(), strict=True))
    return Prediction(str(picture), classes[best], named[classes[best]], named, farthest(model, views))


def evaluate(model: Model, data: str | None = None) -> dict[str, Any]:
    """Measure a model on held-out images; see `held_out` for which.

    Images that the loss ignores are not measured. Returns accuracy, macro_f1 (over the classes that have images or were
    predicted), loss, n, the name of the data, `skipped` (the files that could not be read), and for each class its
    name, its number of images, accuracy and recall (both the share of them that was found), precision and f1, each None
    where it would be a share of nothing.
    ece: the expected calibration error, calibrated where the model holds a confidence, None where its outputs are no
    probabilities. confidence: None, or the fitted numbers with coverage (the share of the images that is answered, not
    "unsure"), the accuracy of those answers, and fitted_here: whether the numbers were fitted on these very images, so
    that coverage, accuracy and ece flatter.
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
    """Return None where nothing was counted: a share of nothing is no number."""
    return [value if count else None for value, count in zip(values.tolist(), counts.tolist(), strict=True)]


def _calibration(model: Model, target: Tensor, scores: Tensor) -> float | None:
    """Return the calibration error of what the model's users see; None for scores that are no probabilities."""
    probabilities = believed(model, scores)
    sure = probabilities.max(1).values
    if not bool(((sure >= 0) & (sure <= 1 + ROUNDING)).all()):
        return None
    return calibration_error(target, probabilities)


def _confidence(model: Model, target: Tensor, scores: Tensor) -> dict[str, Any] | None:
    if model.confidence is None:
        return None
    scores, told = class_scores(scores), model.confidence.to_json()
    kept, again = selective(scores, target, model.confidence), fit_confidence(scores, target).to_json()
    same = all(math.isclose(told[name], again[name], rel_tol=SAME) for name in told)
    return {**told, "coverage": kept.coverage, "accuracy": kept.answered_accuracy, "fitted_here": same}
