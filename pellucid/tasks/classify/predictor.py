"""The classes of pictures, printed."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.calibration.familiarity import score_suffix, score_to_json
from pellucid.data import float_images
from pellucid.data.video import as_file
from pellucid.errors import PellucidError
from pellucid.model import Model
from pellucid.predictor import Picture, Predicted, Predictor
from pellucid.tasks.classify.predict import Prediction, classify
from pellucid.tasks.pictures import class_names, read_views
from pellucid.text import percent

MAX_CLASSES = 3  # most probable classes that the text lists


class ClassPredictor(Predictor):
    """Classifies pictures of any size; writes no files. Raises PellucidError for a model that is no classifier."""

    writes_files = False

    def __init__(self, model: Model) -> None:
        class_names(model)
        self.model = model

    def read(self, source: Path | bytes, name: str = "") -> Tensor:
        """Return the inputs for an image file, or its bytes; see `read_views`."""
        return read_views(self.model, source, name)

    def frame(self, picture: Tensor) -> Tensor:
        """Return the inputs for a frame, which is preprocessed like a file."""
        return read_views(self.model, as_file(picture), "frame")

    def prepared(self, image: Tensor) -> Tensor:
        """Return the inputs for an image of the data, which is not laid out again."""
        return float_images(image[None, : self.model.nominal_shape[0]])

    def predict(self, batch: Sequence[tuple[Picture, Tensor]]) -> Iterator[Predicted | PellucidError]:
        """Yield the class of each picture, and the probabilities or scores of all classes."""
        for picture, views in batch:
            try:
                classified = classify(self.model, views, picture.file)
            except PellucidError as error:
                yield error
                continue
            probable = classified.are_probabilities
            best = sorted(classified.outputs.items(), key=lambda pair: -pair[1])[:MAX_CLASSES]
            listed = ", ".join(f"{label} {percent(value) if probable else f'{value:.4g}'}" for label, value in best)
            row = {
                "image": classified.name,
                "label": classified.label,
                "probability" if probable else "score": classified.output,
                "probabilities" if probable else "scores": classified.outputs,
                **score_to_json(classified.familiarity),
            }
            scores = "" if probable else "scores: "
            line = f"{classified.name}: {classified.label}  ({scores}{listed}){score_suffix(classified.familiarity)}"
            yield Predicted(row, line, [self._row(classified)], label=classified.label, confidence=classified.output)

    def _row(self, prediction: Prediction) -> dict[str, Any]:
        """Return the row of a table, with what the model was fitted to say."""
        row: dict[str, Any] = {"image": prediction.name, "class": prediction.label}
        row["confidence" if prediction.are_probabilities else "score"] = prediction.output
        if prediction.are_probabilities and self.model.confidence is not None:
            row["unsure"] = prediction.output < self.model.confidence.threshold
        if prediction.familiarity is not None:
            row |= {"unfamiliar": prediction.familiarity.unfamiliar, "distance": prediction.familiarity.distance}
        return row

    def finish(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Path | None]:
        """Return the predictions, and beside them the values of a single one."""
        return {**(rows[0] if len(rows) == 1 else {}), "predictions": rows}, None
