"""The predictor of regression models: numbers with their units."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.model import Model
from pellucid.predictor import Picture, Predicted
from pellucid.tasks.classify.predictor import ClassPredictor
from pellucid.tasks.regress.measure import quantities


class NumberPredictor(ClassPredictor):
    """Predicts the numbers of pictures of any size; writes no files.

    quantities: the names and units of the numbers.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.quantities = quantities(model)

    def predict_one(self, picture: Picture, image: Tensor) -> Predicted:
        """Return the numbers of a picture."""
        numbers = self.quantities
        values = self.model.predict(image[:1])[0].tolist()
        text = ", ".join(numbers.text(k, value) for k, value in enumerate(values))
        numbers_by_name = dict(zip(numbers.names, values, strict=True))
        row = {"image": picture.file, **dict(zip(numbers.labels, values, strict=True))}
        return Predicted(
            {"image": picture.file, "numbers": numbers_by_name}, f"{picture.file}: {text}", [row], label=text
        )

    def finish(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Path | None]:
        """Return the predictions and the units of the numbers."""
        units = dict(zip(self.quantities.names, self.quantities.units, strict=True))
        return {**super().finish(rows)[0], "units": units}, None
