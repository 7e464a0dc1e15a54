"""Overlays of detections on their images, and annotations in COCO's format."""

from collections.abc import Sequence
from typing import Any

from numpy import ndarray
from torch import Tensor

from pellucid.data.annotations.base import Annotations, Instance, Record
from pellucid.data.annotations.coco import document
from pellucid.objects import Detections
from pellucid.ops.masks import encode_rle
from pellucid.report.figures.overlay import object_overlay
from pellucid.text import printable

VISIBLE = 2.0  # COCO's visibility of a labelled point


class CocoResults:
    """Collects the detections of images for one COCO file."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.records: list[Record] = []
        self.scores: list[float] = []
        self.points = 0

    def add(self, name: str, size: tuple[int, int], found: Detections) -> None:
        """Add the detections in an image of `size` (H, W)."""
        masks = [None] * len(found) if found.masks is None else [encode_rle(mask) for mask in found.masks]
        points: list[tuple[float, ...]] = [()] * len(found)
        if found.keypoints is not None:
            self.points = found.keypoints.shape[1]
            points = [tuple(value for x, y, _ in one for value in (x, y, VISIBLE)) for one in found.keypoints.tolist()]
        rows = zip(found.boxes.tolist(), found.labels.tolist(), masks, points, strict=True)
        instances = tuple(
            Instance((x0, y0, x1, y1), label, mask, keypoints) for (x0, y0, x1, y1), label, mask, keypoints in rows
        )
        self.records.append(Record(name, size, instances, name, len(self.records) + 1))
        self.scores += found.scores.tolist()

    def to_json(self) -> dict[str, Any]:
        """Return {"images", "annotations", "categories"}, each annotation with its "score"."""
        names = tuple(f"p{k}" for k in range(self.points))
        numbers = tuple(range(1, len(self.classes) + 1))
        content = document(Annotations(self.classes, tuple(self.records), (), names, numbers))
        rows = zip(content["annotations"], self.scores, strict=True)
        return {**content, "annotations": [{**item, "score": score} for item, score in rows]}


def overlay(image: Tensor, found: Detections, classes: Sequence[str]) -> ndarray:
    """Draw the detections, numbered from 1, on an image (C, H, W) uint8: (H, W, 3) uint8, enlarged if small."""
    texts = [
        f"{number} {printable(str(classes[int(label)]))} {score:.2f}"
        for number, (label, score) in enumerate(zip(found.labels.tolist(), found.scores.tolist(), strict=True), 1)
    ]
    shown = image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    return object_overlay(shown, found.boxes, found.labels, texts, len(classes), found.masks, found.keypoints)
