"""The predictor of key-point models: key-points as text, drawn on the pictures, and in COCO's format."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.base.text import percent
from pellucid.model import Model
from pellucid.predictor import Picture, Predicted, Predictor
from pellucid.report.figures.overlay import keypoint_overlay
from pellucid.tasks.keypoints.finder import KeypointFinder
from pellucid.tasks.outputs import OutputFiles, keypoints_to_coco


class KeypointPredictor(Predictor):
    """Finds the key-points of the object in a picture; writes overlays and keypoints.json into `out` unless None."""

    def __init__(self, model: Model, out: Path | None) -> None:
        self.finder = KeypointFinder(model)
        self.mode = self.finder.mode
        self.outputs = None if out is None else OutputFiles(out, "keypoints")

    def check(self, names: Sequence[str], files: Sequence[Path]) -> None:
        """Raise PellucidError if an output would overwrite another file."""
        if self.outputs is not None:
            self.outputs.check(names, files)

    def predict(self, batch: Sequence[tuple[Picture, Tensor]]) -> Iterator[Predicted]:
        """Yield the key-points in each picture."""
        for (picture, image), points in zip(batch, self.finder([image for _, image in batch]), strict=True):
            _, height, width = image.shape
            row = {"image": picture.file, "height": height, "width": width, "keypoints": points.tolist()}
            if self.outputs is not None:
                rgb = image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
                row["overlay"] = str(self.outputs.write_overlay(picture.name, keypoint_overlay(rgb, points[:, :2])))
            score = float(points[:, 2].mean())
            line = f"{row.get('overlay', picture.file)}: {len(points)} points, mean score {percent(score)}"
            columns = {"image": picture.file, "confidence": score}
            for name, point in zip(self.finder.point_names, points.tolist(), strict=True):
                columns |= {f"{name}_{axis}": value for axis, value in zip(("x", "y", "score"), point, strict=True)}
            file = Path(row["overlay"]) if "overlay" in row else None
            yield Predicted(row, line, [columns], confidence=score, points=points, file=file)

    def finish(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Path | None]:
        """Write the key-points of all pictures in COCO's format; return the results and the path of the file."""
        file = None
        if self.outputs is not None:
            file = self.outputs.write_annotations(keypoints_to_coco(rows, self.finder.kind, self.finder.point_names))
        return {"names": self.finder.point_names, "pictures": rows, "annotations": file}, file
