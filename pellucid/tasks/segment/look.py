"""What is shown of a segmentation model for a picture: the classes, their probabilities, and the effect of the CRF."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pellucid.base.text import percent
from pellucid.task.look import NO_VALUES, ClassLayer, Hint, Look, LookControl, MapLayer, NumberBar, Shown
from pellucid.tasks.segment.segmenter import PixelClasses, Segmenter


class SegmenterLook(Look):
    """The class of each pixel, and the probability of each class."""

    def __init__(self, task: Any, model: Any) -> None:
        super().__init__(task, model)
        self.segmenter = Segmenter(model)
        self._found = dict[bool, PixelClasses]()  # with and without the CRF, for the latest picture

    @property
    def controls(self) -> Sequence[LookControl]:
        """The switch of the CRF."""
        return (LookControl("crf", "Refine by a CRF", 0, step=1),)

    def see(self, picture: Tensor) -> None:
        """Segment a picture."""
        self.read(picture)
        self._found = {False: self.segmenter(self.image)}

    def shown(self, values: Mapping[str, float] = NO_VALUES, hints: Sequence[Hint] = ()) -> Shown:
        """Return the classes, with the part of the picture that each covers."""
        has_crf = self.value(values, "crf") >= 0.5
        if has_crf not in self._found:
            self._found[True] = self.segmenter.refined(self.image, self._found[False].probabilities)
        pixel_classes = self._found[has_crf]
        maps = [
            MapLayer(name, values=probability, group="Probability")
            for name, probability in zip(pixel_classes.classes, pixel_classes.probabilities, strict=True)
        ]
        bars = [NumberBar(name, area) for name, area in pixel_classes.areas().items()]
        largest_bar = max(bars, key=lambda bar: bar.value)
        line = f"{largest_bar.name} covers the largest part, {percent(largest_bar.value)} of the picture"
        return Shown(line, [*maps, ClassLayer("classes", True, pixel_classes.mask)], bars, pixel_classes.classes)
