"""The predictor of regression models: numbers with their units."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.predictor import Picture, Predicted
from pellucid.tasks.classify.predictor import ClassPredictor
from pellucid.tasks.regress.measure import quantities


class NumberPredictor(ClassPredictor):
    """Predicts the numbers of pictures of any size; writes no files."""

    def predict(self, batch: Sequence[tuple[Picture, Tensor]]) -> Iterator[Predicted | PellucidError]:
        """Yield the numbers of each picture."""
        found = quantities(self.model)
        for picture, views in batch:
            try:
                values = self.model.predict(views[:1])[0].tolist()
            except PellucidError as error:
                yield error
                continue
            text = ", ".join(found.text(k, value) for k, value in enumerate(values))
            by_name = dict(zip(found.names, values, strict=True))
            row = {"image": picture.file, **dict(zip(found.labels, values, strict=True))}
            yield Predicted({"image": picture.file, "numbers": by_name}, f"{picture.file}: {text}", [row], label=text)

    def finish(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Path | None]:
        """Return the predictions and the units of the numbers."""
        found = quantities(self.model)
        return {**super().finish(rows)[0], "units": dict(zip(found.names, found.units, strict=True))}, None
