"""Classification of image files, its predictor, and evaluation on held-out images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import percent
from pellucid.calibration.familiarity import FamiliarityScore, familiarity_suffix, familiarity_to_json, farthest_score
from pellucid.data import float_images
from pellucid.data.video import ppm_bytes
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
from pellucid.predictor import Picture, Predicted, Predictor
from pellucid.tasks.classify.confidence import fit_confidence, measure_selective
from pellucid.tasks.pictures import (
    are_probabilities,
    calibrated_probabilities,
    class_names,
    held_out,
    raw_scores,
    read_views,
)
from pellucid.training.distributed import ALONE, Processes
from pellucid.training.evaluate import loss_and_predictions
from pellucid.training.examples import examples
from pellucid.training.measures import boundary

# Relative tolerance for equal temperatures and thresholds: saving the weights in half precision changes them by less,
# fitting them on other images by more.
REFIT_TOLERANCE = 0.01
UNSURE = "unsure"  # text of an answer that is None; it is not the answer itself, since a class may have this name
MAX_CLASSES = 3  # number of most probable classes in the text of a prediction


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for one image.

    name: of the image. label: the class with the highest output. output: the output of that class. outputs: the outputs
    of all classes by name, calibrated if the model has a calibration. are_probabilities: False for scores such as
    logits. familiarity: the distance of the image from the training data, None for a model without familiarity.
    threshold: the output below which the model is unsure, 0 for a model that never is.
    """

    name: str
    label: str
    output: float
    outputs: dict[str, float]
    are_probabilities: bool
    familiarity: FamiliarityScore | None = None
    threshold: float = 0.0

    @property
    def answer(self) -> str | None:
        """The label, None if the model is unsure."""
        return self.label if self.output >= self.threshold else None

    @property
    def top_classes(self) -> list[tuple[str, float]]:
        """The classes with the highest outputs, at most MAX_CLASSES, and their outputs."""
        return sorted(self.outputs.items(), key=lambda pair: -pair[1])[:MAX_CLASSES]


def predict(model: Model, picture: str | Path, requires_probabilities: bool = False) -> Prediction:
    """Classify a picture of any size; see `read_views` for its preprocessing, and `classify`."""
    return classify(model, read_views(model, picture), str(picture), requires_probabilities)


def threshold_of(model: Model) -> float:
    """Return the probability below which a model is unsure; 0 (never unsure) without calibration."""
    return 0.0 if model.confidence is None else model.confidence.threshold


def classify(model: Model, views: Tensor, name: str, requires_probabilities: bool = False) -> Prediction:
    """Classify a picture, given its inputs (1 or 2, C, H, W) as `read_views` returns them.

    requires_probabilities: whether to raise PellucidError for a model that outputs scores, such as logits.
    """
    classes, outputs = class_names(model), model.predict(views[:1])
    has_probabilities = are_probabilities(model, outputs)
    is_calibrated = has_probabilities or requires_probabilities
    scores = (calibrated_probabilities if is_calibrated else raw_scores)(model, outputs)[0]  # (classes,)
    label = int(scores.argmax())
    outputs_by_class = dict(zip(classes, scores.tolist(), strict=True))
    return Prediction(
        name=name,
        label=classes[label],
        output=outputs_by_class[classes[label]],
        outputs=outputs_by_class,
        are_probabilities=has_probabilities,
        familiarity=farthest_score(model, views),
        threshold=threshold_of(model) if has_probabilities else -math.inf,  # scores may be negative
    )


def evaluate(model: Model, data: str | None = None, processes: Processes = ALONE) -> dict[str, Any]:
    """Evaluate a model on the images that `held_out` returns.

    processes: each evaluates a part of the images, and all return the results on all images.

    Images that the loss ignores are left out. Returns accuracy, macro_f1 (over the classes that have images or were
    predicted), loss, n, the name of the data, `skipped` (the files that could not be read), and for each class its
    name, number of images, accuracy and recall (both the fraction of its images that were predicted correctly),
    precision and f1, each None if its denominator is 0.
    ece: the expected calibration error, of calibrated outputs if the model has a confidence; None if the outputs are
    not probabilities. confidence: None, or the fitted values with coverage (the fraction of the images that are not
    "unsure"), the accuracy on these, and fitted_here: whether the values were fitted on the same images, which makes
    coverage, accuracy and ece too optimistic.
    """
    class_names(model)
    images = held_out(model, data)
    test_examples = model.fitting(examples(images), images.name)
    with torch.inference_mode():
        loss, scores = loss_and_predictions(model, test_examples, processes)
    valid_mask = model.loss.valid_mask(images.y)
    y = images.y if valid_mask is None else images.y[valid_mask]
    if not len(y):
        raise PellucidError(f"the model's loss ignores all {len(images):,} images of {images.name}; give others")
    confusion = confusion_matrix(y, classes_of(scores, boundary(model.net, model.loss)), len(images.classes))
    return {
        **class_results(images.classes, confusion),
        "loss": loss,
        "ece": _calibration_error(model, y, scores),
        "data": images.name,
        "skipped": list(images.skipped),
        "confidence": _confidence_results(model, y, scores),
    }


def class_results(classes: Sequence[str], confusion: Tensor) -> dict[str, Any]:
    """Return accuracy, macro_f1, n and the results of each class; see `evaluate`. confusion: counts (C, C)."""
    keys = ("class", "n", "accuracy", "recall", "precision", "f1")
    n_true, n_predicted = confusion.sum(1), confusion.sum(0)
    recalls = _none_if_empty(recall(confusion), n_true)
    precision_and_f1 = (
        _none_if_empty(precision(confusion), n_predicted),
        _none_if_empty(f1(confusion), n_true + n_predicted),
    )
    columns = (classes, n_true.tolist(), recalls, recalls, *precision_and_f1)
    n_images = int(confusion.sum())
    return {
        "accuracy": int(confusion.diagonal().sum()) / n_images,
        "macro_f1": macro_f1(confusion),
        "n": n_images,
        "classes": [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)],
    }


def _none_if_empty(values: Tensor, counts: Tensor) -> list[float | None]:
    """Return the values, with None where the count is 0."""
    return [value if count else None for value, count in zip(values.tolist(), counts.tolist(), strict=True)]


def _calibration_error(model: Model, target: Tensor, scores: Tensor) -> float | None:
    """Return the calibration error of the displayed probabilities; None for scores that are not probabilities."""
    return (
        calibration_error(target, calibrated_probabilities(model, scores)) if are_probabilities(model, scores) else None
    )


def _confidence_results(model: Model, target: Tensor, scores: Tensor) -> dict[str, Any] | None:
    """Return the fitted confidence and its results on these images; see `evaluate`."""
    if model.confidence is None:
        return None
    scores, fitted_values = class_scores(scores), model.confidence.to_json()
    selective, refitted_values = (
        measure_selective(scores, target, model.confidence),
        fit_confidence(scores, target).to_json(),
    )
    is_fitted_here = all(
        math.isclose(fitted_values[name], refitted_values[name], rel_tol=REFIT_TOLERANCE) for name in fitted_values
    )
    return {
        **fitted_values,
        "coverage": selective.coverage,
        "accuracy": selective.answered_accuracy,
        "fitted_here": is_fitted_here,
    }


class ClassPredictor(Predictor):
    """Classifies pictures of any size; writes no files.

    says_unsure: whether a prediction below the model's confidence threshold is "unsure"; the model must then output
    probabilities. Raises PellucidError for a model that is not a classifier.
    """

    writes_files = False

    def __init__(self, model: Model, says_unsure: bool = False) -> None:
        class_names(model)
        self.model = model
        self.says_unsure = says_unsure

    def read(self, source: Path | bytes, name: str = "") -> Tensor:
        """Return the inputs for an image file, or its bytes; see `read_views`."""
        return read_views(self.model, source, name)

    def frame(self, picture: Tensor) -> Tensor:
        """Return the inputs for a frame, which is preprocessed like a file."""
        return read_views(self.model, ppm_bytes(picture), "frame")

    def prepared(self, image: Tensor) -> Tensor:
        """Return the input for an image of a data set; its layout was already converted when the data were read."""
        return float_images(image[None, : self.model.nominal_shape[0]])

    def predict_one(self, picture: Picture, image: Tensor) -> Predicted:
        """Return the class of a picture, and the probabilities or scores of all classes."""
        prediction = classify(self.model, image, picture.file, self.says_unsure)
        has_probabilities = prediction.are_probabilities
        top_text = ", ".join(
            f"{label} {percent(value) if has_probabilities else f'{value:.4g}'}"
            for label, value in prediction.top_classes
        )
        row = {
            "image": prediction.name,
            "label": prediction.label,
            "probability" if has_probabilities else "score": prediction.output,
            "probabilities" if has_probabilities else "scores": prediction.outputs,
            **familiarity_to_json(prediction.familiarity),
        }
        answer_text = prediction.label
        if self.says_unsure:
            row["answer"] = prediction.answer
            answer_text = UNSURE if prediction.answer is None else prediction.answer
        prefix = "" if has_probabilities else "scores: "
        line = f"{prediction.name}: {answer_text}  ({prefix}{top_text}){familiarity_suffix(prediction.familiarity)}"
        table_row = self._table_row(prediction)
        return Predicted(row, line, [table_row], label=prediction.label, confidence=prediction.output)

    def _table_row(self, prediction: Prediction) -> dict[str, Any]:
        """Return the row of a table, with "unsure" and "unfamiliar" if the model was fitted to report them."""
        row: dict[str, Any] = {"image": prediction.name, "class": prediction.label}
        row["confidence" if prediction.are_probabilities else "score"] = prediction.output
        if prediction.are_probabilities and self.model.confidence is not None:
            row["unsure"] = prediction.answer is None
        if prediction.familiarity is not None:
            row |= {"unfamiliar": prediction.familiarity.unfamiliar, "distance": prediction.familiarity.distance}
        return row

    def finish(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Path | None]:
        """Return the predictions, and for a single picture its values at the top level too."""
        return {**(rows[0] if len(rows) == 1 else {}), "predictions": rows}, None
