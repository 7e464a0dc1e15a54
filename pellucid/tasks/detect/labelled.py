"""Labelled pictures of a detector: which detections are false, and which objects are missed, at any thresholds."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.data.detection import scale_objects
from pellucid.detectors.base import Candidates
from pellucid.metrics.error_split import HIT, IGNORED, MatchedImage, classify_detections, crowd_mask
from pellucid.ops.image_objects import Detections, Objects
from pellucid.task.look import BoxLayer, LabelledPictures, MatchCounts, PictureLayer
from pellucid.tasks.annotated import held_out
from pellucid.tasks.detect.score_choice import score_curve

MAX_PICTURES = 500  # whose candidates are kept, 24 bytes of each and 4 for each class
LOWEST_SCORE = 0.05  # of the curve, and of the candidates that are kept until a control is below it


class LabelledObjects(LabelledPictures):
    """Pictures with boxes; the candidates of each picture are kept, so that other thresholds need no network.

    look: the `DetectorLook` of the model. data: as for `Task.evaluate`.
    """

    def __init__(self, look: Any, data: str | None) -> None:
        self.look = look
        self.source, _ = held_out(look.model, data, look.finder.classes)
        self.names = self.source.names[:MAX_PICTURES]
        self.available = len(self.source)
        self._lowest_score = LOWEST_SCORE
        self._examples_by_index = dict[int, tuple[Candidates, Objects]]()
        self._sizes = dict[int, tuple[int, int]]()  # (H, W) of the pictures

    def picture(self, index: int) -> Tensor:
        """Return a picture."""
        image = self.source.example(index)[0]
        return image[:3].expand(3, -1, -1)

    def judge(self, index: int, values: Mapping[str, float]) -> MatchCounts:
        """Return the numbers of hits, of other detections, and of objects without a hit, at an IoU of 0.5."""
        detections, objects = self._detections_and_objects(index, values)
        matching = classify_detections(detections, objects)
        n_right = sum(verdict.kind == HIT for verdict in matching.verdicts)
        n_false = len(_false_indices(matching))
        return MatchCounts(n_right, n_false, int((~crowd_mask(objects)).sum()) - n_right)

    def mistakes(self, index: int, values: Mapping[str, float]) -> Sequence[PictureLayer]:
        """Return the false detections and the missed objects."""
        detections, objects = self._detections_and_objects(index, values)
        matching = classify_detections(detections, objects)
        false_detections = detections.take(torch.tensor(_false_indices(matching), dtype=torch.int64))
        is_missed = (torch.tensor(matching.object_matches, dtype=torch.int64) < 0) & ~crowd_mask(objects)
        return (
            BoxLayer("false", True, false_detections.boxes, false_detections.scores, false_detections.labels),
            BoxLayer("missed", True, objects.boxes[is_missed], None, objects.labels[is_missed]),
        )

    def curve(self, values: Mapping[str, float]) -> Sequence[tuple[float, float]]:
        """Return recall and precision at each score from LOWEST_SCORE on."""
        pairs = [
            self._detections_and_objects(index, {**values, "score": LOWEST_SCORE}) for index in range(len(self.names))
        ]
        found_curve = score_curve([detections for detections, _ in pairs], [objects for _, objects in pairs])
        return list(zip(found_curve.recall.tolist(), found_curve.precision.tolist(), strict=True))

    def _detections_and_objects(self, index: int, values: Mapping[str, float]) -> tuple[Detections, Objects]:
        """Return the detections and the objects of a picture, in its pixels."""
        look = self.look
        if look.value(values, "score") < self._lowest_score:
            self._lowest_score = 0.0
            self._examples_by_index.clear()
        if index not in self._examples_by_index:
            image, objects = self.source.example(index)
            all_candidates: Candidates = look.candidates(look.predictor.frame(image[:3].expand(3, -1, -1)))
            is_kept = (all_candidates.scores >= self._lowest_score).any(1)
            kept_candidates = Candidates(
                all_candidates.boxes[is_kept],
                all_candidates.scores[is_kept],
                all_candidates.anchors[is_kept],
                all_candidates.size,
            )
            self._examples_by_index[index] = (kept_candidates, objects)
            self._sizes[index] = (int(image.shape[1]), int(image.shape[2]))
        candidates, objects = self._examples_by_index[index]
        detections = look.decide(candidates, values).detections
        return scale_objects(detections, candidates.size, self._sizes[index]), objects


def _false_indices(matching: MatchedImage) -> list[int]:
    """Return the indices of the detections that are neither hits nor ignored."""
    return [k for k, verdict in enumerate(matching.verdicts) if verdict.kind not in (HIT, IGNORED)]
