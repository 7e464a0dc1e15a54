"""Output files for pictures: overlays, annotations in COCO's format, and a check for files that must be kept."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy import ndarray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder, write_atomically
from pellucid.data.annotations.base import Annotations, ImageRecord, Instance
from pellucid.data.annotations.coco import document
from pellucid.ops.image_objects import Detections
from pellucid.ops.masks import encode_rle
from pellucid.report.embedded import encoded

VISIBLE = 2.0  # COCO's flag for a key-point that is labelled and visible


def check_outputs(
    outputs: Iterable[Sequence[Path]], sources: Sequence[Path], is_ours: Callable[[Sequence[Path]], bool]
) -> None:
    """Raise PellucidError if outputs would overwrite one of the `sources`, or a file that Pellucid did not write.

    outputs: the output files of each picture. is_ours: a function that returns whether Pellucid wrote these existing
    output files of a picture. Also raises PellucidError if two pictures have output files of the same name.
    """
    source_paths, claimed_paths = {file.resolve() for file in sources}, set[Path]()
    for files in outputs:
        existing_files = [file for file in files if file.exists()]
        conflicting_file = next((file for file in existing_files if file.resolve() in source_paths), None)
        if conflicting_file is None and existing_files and not is_ours(existing_files):
            conflicting_file = existing_files[0]
        if conflicting_file is not None:
            raise PellucidError(f"{conflicting_file} would be overwritten; give another output folder")
        duplicate = next((file for file in files if file in claimed_paths), None)
        if duplicate is not None:
            raise PellucidError(f"two pictures would both be written to {duplicate}; rename one of them")
        claimed_paths.update(files)


@dataclass(frozen=True)
class OutputFiles:
    """The files STEM-KIND.png, one for each picture, and KIND.json in a folder."""

    folder: Path
    kind: str

    def overlay(self, stem: str) -> Path:
        """Return the path of a picture's overlay."""
        return self.folder / f"{stem}-{self.kind}.png"

    @property
    def annotations(self) -> Path:
        """The path of the annotations."""
        return self.folder / f"{self.kind}.json"

    def check(self, stems: Sequence[str], sources: Sequence[Path] = ()) -> None:
        """Raise PellucidError if an output would overwrite one of the `sources`, or a file that Pellucid did not write.

        If both overlays and annotations exist, an earlier call wrote them, and they may be overwritten. Also raises
        PellucidError if two pictures have output files of the same name.
        """
        is_ours = self.annotations.exists() == any(self.folder.glob(self.overlay("*").name))
        files = [*map(self.overlay, stems), self.annotations]
        check_outputs([[file] for file in files], sources, lambda existing_files: is_ours)

    def write_overlay(self, stem: str, pixels: ndarray) -> Path:
        """Write the overlay of a picture, (H, W, 3) uint8, and return its path."""
        make_folder(self.folder)
        write_atomically(self.overlay(stem), png(Image.fromarray(pixels)))
        return self.overlay(stem)

    def write_annotations(self, annotations: Mapping[str, Any]) -> Path:
        """Write the content of a COCO file, and return the path of the file."""
        make_folder(self.folder)
        write_atomically(self.annotations, (json.dumps(annotations) + "\n").encode())
        return self.annotations


class CocoResults:
    """Collects the detections of images for one COCO file."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.records: list[ImageRecord] = []
        self.scores: list[float] = []
        self.n_keypoints = 0

    def add(self, name: str, size: tuple[int, int], detections: Detections) -> None:
        """Add the detections in an image of `size` (H, W)."""
        masks = (
            [None] * len(detections) if detections.masks is None else [encode_rle(mask) for mask in detections.masks]
        )
        keypoints: list[tuple[float, ...]] = [()] * len(detections)
        if detections.keypoints is not None:
            self.n_keypoints = detections.keypoints.shape[1]
            keypoints = [
                tuple(value for x, y, _ in row for value in (x, y, VISIBLE)) for row in detections.keypoints.tolist()
            ]
        rows = zip(detections.boxes.tolist(), detections.labels.tolist(), masks, keypoints, strict=True)
        instances = tuple(
            Instance((x0, y0, x1, y1), label, outline=mask, points=keypoints)
            for (x0, y0, x1, y1), label, mask, keypoints in rows
        )
        self.records.append(ImageRecord(name, size, instances, file=name, image_id=len(self.records) + 1))
        self.scores += detections.scores.tolist()

    def to_json(self) -> dict[str, Any]:
        """Return {"images", "annotations", "categories"}, each annotation with its "score"."""
        keypoint_names = tuple(f"p{k}" for k in range(self.n_keypoints))
        return _with_scores(Annotations(self.classes, tuple(self.records), keypoints=keypoint_names), self.scores)


def keypoints_to_coco(
    pictures: Sequence[Mapping[str, Any]], category: str, keypoint_names: Sequence[str]
) -> dict[str, Any]:
    """Return predicted key-points of pictures as the content of a COCO file.

    pictures: the "image" (a file name), "height" and "width" of each picture, and its "objects", each with "keypoints"
    (K, 3), "score" and "box", or in their place the "keypoints" of one object; a key-point is x, y and score. Without
    a box, that of the object encloses its key-points and is clipped to the picture; without a score, it is the mean of
    those of the key-points. category: the name of the objects' category.
    """
    records, scores = list[ImageRecord](), list[float]()
    for number, picture in enumerate(pictures, 1):
        width, height = picture["width"], picture["height"]
        instances: list[Instance] = []
        for object_values in picture.get("objects", [picture]):
            keypoints = object_values["keypoints"]
            xs = [min(max(x, 0), width) for x, _, _ in keypoints]
            ys = [min(max(y, 0), height) for _, y, _ in keypoints]
            box = object_values.get("box", (min(xs), min(ys), max(xs), max(ys)))
            coco_points = tuple(value for x, y, _ in keypoints for value in (x, y, int(VISIBLE)))
            instances.append(Instance(tuple(box), 0, points=coco_points))
            scores.append(object_values.get("score", sum(score for _, _, score in keypoints) / len(keypoints)))
        records.append(
            ImageRecord(picture["image"], (height, width), tuple(instances), file=picture["image"], image_id=number)
        )
    annotations = Annotations((category,), tuple(records), keypoints=tuple(keypoint_names))
    return _with_scores(annotations, scores)


def _with_scores(annotations: Annotations, scores: Sequence[float]) -> dict[str, Any]:
    """Return annotations as the content of a COCO file; scores: the "score" of each annotation."""
    content = document(annotations)
    rows = zip(content["annotations"], scores, strict=True)
    return {**content, "annotations": [{**annotation, "score": score} for annotation, score in rows]}


def png(picture: Image.Image, text_chunks: PngInfo | None = None) -> bytes:
    """Return a picture as the bytes of a PNG file; text_chunks: metadata to write into it."""
    return encoded(picture, pnginfo=text_chunks)
