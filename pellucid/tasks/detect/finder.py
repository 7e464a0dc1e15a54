"""Objects in pictures of any size."""

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor

from pellucid.data.detection import scaled
from pellucid.data.images import resized
from pellucid.detectors import Detector
from pellucid.errors import PellucidError
from pellucid.model import Model
from pellucid.objects import Detections


def is_detector(model: Model) -> bool:
    """Return whether a model finds objects in images."""
    return isinstance(model.objective, Detector)


class ObjectFinder:
    """Finds the objects in pictures of any size. classes: their names.

    Pictures are resized as those of the training were: their longest side to a length, or to a height and a width.
    Raises PellucidError for a model of other outputs.
    """

    def __init__(self, model: Model) -> None:
        if not is_detector(model):
            raise PellucidError("the model finds no objects; give one that does, such as a run of bccd-single")
        self.model = model
        count = cast(Detector, model.objective).classes
        self.classes: Sequence[str] = model.classes or tuple(str(label) for label in range(count))
        self.size: int | Sequence[int] | None = model.preprocess.get("size")

    def __call__(self, image: Tensor) -> Detections:
        """Return the objects in a picture, uint8 (3, H, W), in its own pixels, in the order of descending scores."""
        size = int(image.shape[1]), int(image.shape[2])
        new = self._fitted(size)
        found: Any = self.model.predict(resized(image, new)[None])[0]
        return scaled(found, new, size)

    def _fitted(self, size: tuple[int, int]) -> tuple[int, int]:
        if self.size is None:
            return size
        if not isinstance(self.size, int):
            return self.size[0], self.size[1]
        factor = self.size / max(size)
        return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
