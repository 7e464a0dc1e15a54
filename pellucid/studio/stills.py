"""Predictions as pictures, for notebooks where widgets cannot run."""

from collections.abc import Iterable, Sequence
from contextlib import closing

from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.predictor import Picture, Predicted, PredictionList, Predictor
from pellucid.report.embedded import embedded
from pellucid.report.page import table_html
from pellucid.task.given_pictures import given_pictures

MAX_STILLS = 9  # pictures that are shown
SIDE = 320  # pixels of their longer side


class Unchanged(Predictor):
    """A predictor that reads pictures in their original size and colours, and predicts nothing."""

    def predict(self, batch: Sequence[tuple[Picture, Tensor]]) -> Iterable[Predicted]:
        """Return no predictions."""
        return ()


def stills(predictions: PredictionList) -> str | None:
    """Return the first pictures with their predictions, as HTML; None if one can no longer be read."""
    if predictions.argument is None:
        return None
    shown = predictions[:MAX_STILLS]
    files = {prediction.values.get("image") for prediction in shown}
    try:
        with closing(given_pictures(predictions.argument, Unchanged())) as pictures:
            images = {picture.file: picture.read() for picture in pictures if picture.file in files}
    except PellucidError:  # the files have been moved since: the notebook shows the text
        return None
    if files != {*images} or len(files) < len(shown):  # a picture is gone, or all are frames of one video
        return None
    classes = predictions.model.classes or ()
    drawn = [
        (prediction.line, embedded(prediction.overlay(images[prediction.values["image"]], classes), SIDE))
        for prediction in shown
    ]
    first = f"; the first {MAX_STILLS}" if len(predictions) > MAX_STILLS else ""
    return table_html(f"{plural(len(predictions), 'prediction')}{first}", (), stills=drawn)
