"""Predictions as pictures, for notebooks where widgets cannot run."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import islice

from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.predictor import Picture, Predicted, PredictionList, Predictor, given_pictures
from pellucid.report.embedded import embedded
from pellucid.report.page import table_html
from pellucid.text import plural

MAX_STILLS = 9  # pictures that are shown
SIDE = 320  # pixels of their longer side


class Unchanged(Predictor):
    """Reads pictures in their own size and colours, and predicts nothing."""

    def predict(self, batch: Sequence[tuple[Picture, Tensor]]) -> Iterable[Predicted]:
        """Return no predictions."""
        return ()


def stills(predictions: PredictionList) -> str | None:
    """Return the first pictures with what was predicted for them, as HTML; None if they cannot be read any more."""
    if predictions.given is None:
        return None
    try:
        with closing(given_pictures(predictions.given, Unchanged())) as pictures:
            readable = (picture for picture in pictures if picture.file not in predictions.skipped)
            images = [picture.read() for picture in islice(readable, MAX_STILLS)]
    except PellucidError:  # the files have been moved since: the notebook shows the text
        return None
    pairs = zip(predictions, images, strict=False)
    shown = [(prediction.line, embedded(prediction.overlay(image), SIDE)) for prediction, image in pairs]
    first = f"; the first {MAX_STILLS}" if len(predictions) > MAX_STILLS else ""
    return table_html(f"{plural(len(predictions), 'prediction')}{first}", (), stills=shown)
