"""The score from which a detection counts as an object, chosen on held-out images."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.data import Source, Subset
from pellucid.data.seeds import generator
from pellucid.metrics.error_split import HIT, IGNORED, classify_detections, crowd_mask
from pellucid.model import Model
from pellucid.ops.image_objects import Detections, Objects

MAX_IMAGES = 500


@dataclass(frozen=True, eq=False)
class ScoreCurve:
    """Precision and recall, at an IoU of 0.5, of all detections with at least each of n scores.

    scores: (n,), descending, one for each cut between detections of different scores.
    """

    scores: Tensor
    precision: Tensor
    recall: Tensor

    @property
    def f1(self) -> Tensor:
        """The harmonic mean of precision and recall, (n,)."""
        return (2 * self.precision * self.recall / (self.precision + self.recall)).nan_to_num()

    @property
    def best(self) -> float | None:
        """The score with the highest F1, halfway to the next lower one; None if no detection is right."""
        if not len(self.scores) or not bool(self.f1.max() > 0):
            return None
        index = int(self.f1.argmax())
        next_lower = float(self.scores[index + 1]) if index + 1 < len(self.scores) else 0.0
        return (float(self.scores[index]) + next_lower) / 2


def score_curve(detections: Sequence[Detections], objects: Sequence[Objects]) -> ScoreCurve:
    """Return the curve for the detections in images, over all classes; detections of crowds do not count."""
    scores, hits, n_objects = list[float](), list[bool](), 0
    for image_detections, image_objects in zip(detections, objects, strict=True):
        n_objects += int((~crowd_mask(image_objects)).sum())
        verdicts = classify_detections(image_detections, image_objects).verdicts
        for score, verdict in zip(image_detections.scores.tolist(), verdicts, strict=True):
            if verdict.kind != IGNORED:
                scores.append(score)
                hits.append(verdict.kind == HIT)
    score_tensor, order = torch.tensor(scores, dtype=torch.float64).sort(descending=True, stable=True)
    n_right = torch.tensor(hits, dtype=torch.float64)[order].cumsum(0)
    last_of_equals = torch.ones(len(score_tensor), dtype=torch.bool)
    last_of_equals[:-1] = score_tensor[1:] < score_tensor[:-1]
    n_detections = torch.arange(1, len(score_tensor) + 1, dtype=torch.float64)
    cut_indices = last_of_equals.nonzero()[:, 0]
    return ScoreCurve(
        score_tensor[cut_indices], (n_right / n_detections)[cut_indices], n_right[cut_indices] / max(n_objects, 1)
    )


def every_second(images: Source, first: int) -> Source:
    """Return every second image, from the one with index `first` on; all of fewer than two images."""
    return images if len(images) < 2 else Subset(images, torch.arange(first, len(images), 2))


def score_curve_on(model: Model, images: Source) -> ScoreCurve:
    """Return the curve of a model on at most MAX_IMAGES evenly chosen images."""
    detections, objects = list[Detections](), list[Objects]()
    for k in torch.linspace(0, len(images) - 1, min(len(images), MAX_IMAGES)).round().long().tolist():
        batch = images.batch([k], generator(0))
        detections += model.predict(batch.images)
        objects += batch.targets
    return score_curve(detections, objects)
