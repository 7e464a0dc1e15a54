"""The predictor of detectors: detections as text, drawn on the pictures, and in COCO's format."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.base.text import plural
from pellucid.model import Model
from pellucid.ops.image_objects import Detections
from pellucid.predictor import Picture, Predicted, Predictor
from pellucid.tasks.detect.finder import ObjectFinder, overlay
from pellucid.tasks.detect.thresholds import score_of
from pellucid.tasks.outputs import CocoResults, OutputFiles


class DetectionPredictor(Predictor):
    """Detects objects; writes overlays and detections.json into `out` unless it is None.

    Detections have at least the score of `score_of`. Raises PellucidError for a model that is not a detector.
    """

    def __init__(self, model: Model, out: Path | None) -> None:
        self.finder, self.score = ObjectFinder(model), score_of(model)
        self.mode, self.classes = self.finder.mode, self.finder.classes
        self.outputs = None if out is None else OutputFiles(out, "detections")
        self.coco = CocoResults(self.classes)

    def check(self, names: Sequence[str], files: Sequence[Path]) -> None:
        """Raise PellucidError if an output would overwrite another file."""
        if self.outputs is not None:
            self.outputs.check(names, files)

    def predict(self, batch: Sequence[tuple[Picture, Tensor]]) -> Iterator[Predicted]:
        """Yield the detections in each picture."""
        detections = self.finder.find([image for _, image in batch], self.score)
        for (picture, image), image_detections in zip(batch, detections, strict=True):
            _, height, width = image.shape
            row = {"image": picture.file, "height": height, "width": width}
            detection_rows = row["detections"] = self._detection_rows(image_detections)
            if self.outputs is not None:
                row["overlay"] = str(
                    self.outputs.write_overlay(picture.name, overlay(image, image_detections, self.classes))
                )
                self.coco.add(picture.file, (height, width), image_detections)
            yield Predicted(
                row,
                f"{row.get('overlay', picture.file)}: {class_counts(image_detections, self.classes)}",
                [_table_row(picture.file, detection) for detection in detection_rows or [EMPTY_ROW]],
                labels=tuple(detection["class"] for detection in detection_rows),
                boxes=image_detections.boxes,
                scores=image_detections.scores,
                masks=image_detections.masks,
                points=image_detections.keypoints,
                file=Path(row["overlay"]) if "overlay" in row else None,
            )

    def finish(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Path | None]:
        """Write the detections of all pictures in COCO's format; return the results and the path of the file."""
        file = None if self.outputs is None else self.outputs.write_annotations(self.coco.to_json())
        return {"classes": list(self.classes), "score": self.score, "pictures": rows, "annotations": file}, file

    def _detection_rows(self, detections: Detections) -> list[dict[str, Any]]:
        """Return the detections, numbered as in the overlay."""
        values = zip(detections.labels.tolist(), detections.scores.tolist(), detections.boxes.tolist(), strict=True)
        detection_rows = [
            {"number": number, "class": self.classes[label], "score": score, "box": box}
            for number, (label, score, box) in enumerate(values, 1)
        ]
        if detections.keypoints is not None:
            points = detections.keypoints.tolist()
            detection_rows = [
                {**row, "keypoints": key_points} for row, key_points in zip(detection_rows, points, strict=True)
            ]
        return detection_rows


def class_counts(detections: Detections, classes: Sequence[str]) -> str:
    """Return the number of objects, and of those of each class, in words."""
    counts = Counter(classes[label] for label in detections.labels.tolist())
    counts_text = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    return f"{plural(len(detections), 'object')} ({counts_text})" if counts_text else "no objects"


# The row of a picture without detections; it has all columns, so that a table without detections has them too.
EMPTY_ROW: Mapping[str, Any] = {"number": 0, "class": None, "score": None, "box": [None] * 4}


def _table_row(file: str, detection: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a table for a detection."""
    corners = zip(("x0", "y0", "x1", "y1"), detection["box"], strict=True)
    columns = {"number": detection["number"], "class": detection["class"], "confidence": detection["score"]}
    return {"image": file, **columns, **dict(corners)}
