"""The predictor of multi-label classifiers: the labels of a picture, and the probability of each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.base.text import percent
from pellucid.model import Model
from pellucid.predictor import Picture, Predicted
from pellucid.tasks.classify.predictor import ClassPredictor
from pellucid.tasks.multilabel.report import thresholds_of
from pellucid.tasks.pictures import class_names

MAX_SHOWN = 3  # classes without their label in the text of a prediction


class LabelPredictor(ClassPredictor):
    """Predicts the labels of pictures of any size; writes no files."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.thresholds = dict(zip(class_names(model), thresholds_of(model).tolist(), strict=True))

    def predict_one(self, picture: Picture, image: Tensor) -> Predicted:
        """Return the labels of a picture, whose probability is at least the threshold of its class."""
        probabilities = self.model.predict(image[:1])[0].tolist()
        probabilities_by_class = dict(zip(self.thresholds, probabilities, strict=True))
        labels = [name for name, threshold in self.thresholds.items() if probabilities_by_class[name] >= threshold]
        other_names = sorted({*probabilities_by_class} - {*labels}, key=lambda name: -probabilities_by_class[name])[
            :MAX_SHOWN
        ]
        labels_text = ", ".join(f"{name} {percent(probabilities_by_class[name])}" for name in labels) or "no label"
        other_names_text = ", ".join(f"{name} {percent(probabilities_by_class[name])}" for name in other_names)
        line = f"{picture.file}: {labels_text}" + (f"  (not {other_names_text})" if other_names_text else "")
        values = {"image": picture.file, "labels": labels, "probabilities": probabilities_by_class}
        row: dict[str, Any] = {"image": picture.file, "labels": "|".join(labels), **probabilities_by_class}
        confidence = max((probabilities_by_class[name] for name in labels), default=max(probabilities))
        return Predicted(values, line, [row], label=", ".join(labels) or "no label", confidence=confidence)

    def finish(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Path | None]:
        """Return the predictions and the thresholds of the classes."""
        return {**super().finish(rows)[0], "thresholds": self.thresholds}, None
