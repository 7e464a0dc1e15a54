"""The predictor of key-point models: key-points as text, drawn on the pictures, and in COCO's format."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy import ndarray
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_once, percent, plural
from pellucid.model import Model
from pellucid.predictor import Picture, Predicted, Predictor
from pellucid.report.figures.overlay import keypoint_overlay, object_overlay
from pellucid.tasks.keypoints.boxes import BoxFinder, ScoredBoxes
from pellucid.tasks.keypoints.finder import KeypointFinder
from pellucid.tasks.outputs import OutputFiles, keypoints_to_coco


class KeypointPredictor(Predictor):
    """Finds the key-points of the object in a picture; writes overlays and keypoints.json into `out` unless None.

    boxes: finds the boxes of several objects in a picture, whose key-points are then found in crops; by default, the
    picture is one object.
    """

    def __init__(self, model: Model, out: Path | None, boxes: BoxFinder | None = None) -> None:
        self.finder = KeypointFinder(model)
        self.mode = self.finder.mode
        self.boxes = boxes
        # Previews are drawn with a model that is still being trained.
        if boxes is None and self.finder.is_of_crops and model.source is not None:
            note_once(
                "the model was trained on crops of objects, so each image is taken as one object that fills it; "
                "`pellucid keypoints MODEL IMAGES --boxes BOXES` finds those of several objects"
            )
        self.outputs = None if out is None else OutputFiles(out, "keypoints")

    def check(self, names: Sequence[str], files: Sequence[Path]) -> None:
        """Raise PellucidError if an output would overwrite another file."""
        if self.outputs is not None:
            self.outputs.check(names, files)

    def predict(self, batch: Sequence[tuple[Picture, Tensor]]) -> Iterator[Predicted | PellucidError]:
        """Yield the key-points in each picture, or the reason why it has no boxes."""
        if self.boxes is not None:
            for picture, image in batch:
                try:
                    found_boxes = self.boxes(picture, image)
                except PellucidError as error:
                    yield error
                else:
                    yield self._predict_objects(picture, image, found_boxes)
            return
        for (picture, image), points in zip(batch, self.finder([image for _, image in batch]), strict=True):
            row = _image_row(picture, image)
            row["keypoints"] = points.tolist()
            if self.outputs is not None:
                overlay = keypoint_overlay(_pixels(image), points[:, :2])
                row["overlay"] = str(self.outputs.write_overlay(picture.name, overlay))
            score = float(points[:, 2].mean())
            line = f"{row.get('overlay', picture.file)}: {len(points)} points, mean score {percent(score)}"
            table_row = self._columns(picture, score, points)
            file = Path(row["overlay"]) if "overlay" in row else None
            yield Predicted(row, line, [table_row], confidence=score, points=points, file=file)

    def _predict_objects(self, picture: Picture, image: Tensor, scored_boxes: ScoredBoxes) -> Predicted:
        """Return the key-points of the objects in boxes; their scores are multiplied by those of the boxes."""
        points = self.finder.find_in_boxes(image, scored_boxes.boxes)
        scores = points[:, :, 2].mean(1) * scored_boxes.scores
        values = zip(scored_boxes.boxes.tolist(), points.tolist(), scores.tolist(), strict=True)
        objects = [{"box": box, "keypoints": keypoints, "score": score} for box, keypoints, score in values]
        row = {**_image_row(picture, image), "objects": objects}
        if self.outputs is not None:
            labels = torch.zeros(len(objects), dtype=torch.int64)
            texts = [f"{number} {score:.2f}" for number, score in enumerate(scores.tolist(), 1)]
            overlay = object_overlay(_pixels(image), scored_boxes.boxes, labels, texts, n_classes=1, keypoints=points)
            row["overlay"] = str(self.outputs.write_overlay(picture.name, overlay))
        corners = ("x0", "y0", "x1", "y1")
        rows = [
            self._columns(picture, object_values["score"], object_points)
            | dict(zip(corners, object_values["box"], strict=True))
            for object_values, object_points in zip(objects, points, strict=True)
        ]
        return Predicted(
            row,
            f"{row.get('overlay', picture.file)}: {plural(len(objects), 'object')}",
            rows or [{"image": picture.file}],
            boxes=scored_boxes.boxes,
            scores=scores,
            labels=(self.finder.kind,) * len(objects),
            points=points,
            file=Path(row["overlay"]) if "overlay" in row else None,
        )

    def _columns(self, picture: Picture, score: float, points: Tensor) -> dict[str, Any]:
        """Return the columns of a table for one object."""
        columns: dict[str, Any] = {"image": picture.file, "confidence": score}
        for name, point in zip(self.finder.point_names, points.tolist(), strict=True):
            columns |= {f"{name}_{axis}": value for axis, value in zip(("x", "y", "score"), point, strict=True)}
        return columns

    def finish(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Path | None]:
        """Write the key-points of all pictures in COCO's format; return the results and the path of the file."""
        file = None
        if self.outputs is not None:
            file = self.outputs.write_annotations(keypoints_to_coco(rows, self.finder.kind, self.finder.point_names))
        return {"names": self.finder.point_names, "pictures": rows, "annotations": file}, file


def _image_row(picture: Picture, image: Tensor) -> dict[str, Any]:
    _, height, width = image.shape
    return {"image": picture.file, "height": height, "width": width}


def _pixels(image: Tensor) -> ndarray:
    """Return the pixels (H, W, 3) of an image (C, H, W)."""
    return image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
