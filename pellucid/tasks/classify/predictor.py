"""The predictor of classifiers: predicted classes as lines of text, JSON values and rows of a table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.base.text import percent
from pellucid.calibration.familiarity import score_suffix, score_to_json
from pellucid.data import float_images
from pellucid.data.video import ppm_bytes
from pellucid.model import Model
from pellucid.predictor import Picture, Predicted, Predictor
from pellucid.tasks.classify.predict import UNSURE, Prediction, classify
from pellucid.tasks.pictures import class_names, read_views


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
            **score_to_json(prediction.familiarity),
        }
        answer = prediction.label
        if self.says_unsure:
            row["answer"] = prediction.answer
            answer = UNSURE if prediction.answer is None else prediction.answer
        prefix = "" if has_probabilities else "scores: "
        line = f"{prediction.name}: {answer}  ({prefix}{top_text}){score_suffix(prediction.familiarity)}"
        columns = self._table_row(prediction)
        return Predicted(row, line, [columns], label=prediction.label, confidence=prediction.output)

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
