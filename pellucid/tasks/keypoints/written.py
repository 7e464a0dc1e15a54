"""Files of found key-points: overlays, and annotations in COCO's format."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.files import write_atomically
from pellucid.report.figures.keypoints import keypoint_overlay

ANNOTATIONS = "keypoints.json"
VISIBLE = 2  # COCO's visibility of a labelled point


def overlay_name(stem: str) -> str:
    """Return the name of the file that `write_overlay` writes."""
    return f"{stem}-keypoints.png"


def check_outputs(folder: Path, stems: Sequence[str], sources: Sequence[Path] = ()) -> None:
    """Raise PellucidError where an output would overwrite one of the pictures, or a file of something else.

    Overlays and annotations of an earlier call, which wrote both, are overwritten. Two pictures with outputs of the
    same name are refused too.
    """
    names, pictures = [overlay_name(stem) for stem in stems], {file.resolve() for file in sources}
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice:
        raise PellucidError(f"two pictures would both be written to {folder / twice}; rename one of them")
    there = [name for name in names if (folder / name).exists()]
    picture = next((name for name in there if (folder / name).resolve() in pictures), None)
    alone = (folder / ANNOTATIONS).exists() != any(folder.glob(overlay_name("*")))
    if picture or (alone and (there or (folder / ANNOTATIONS).exists())):
        name = picture or (there[0] if there else ANNOTATIONS)
        raise PellucidError(f"{folder / name} would be overwritten; give another output folder")


def write_overlay(folder: Path, stem: str, image: Tensor, points: Tensor) -> Path:
    """Write STEM-keypoints.png, the picture (C, H, W) uint8 with a dot at each point (K, 3), and return its path."""
    shown = keypoint_overlay(image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy(), points[:, :2])
    file = io.BytesIO()
    Image.fromarray(shown).save(file, "PNG")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / overlay_name(stem), file.getvalue())
    return folder / overlay_name(stem)


def coco(pictures: Sequence[Mapping[str, Any]], kind: str, names: Sequence[str]) -> dict[str, Any]:
    """Return COCO's annotations of pictures with one object each.

    pictures: for each its "image" (a file name), "height", "width" and "keypoints" (K, 3): x, y and score. The box is
    that of the points, cut at the picture's border; the score is their mean.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, one in enumerate(pictures, 1):
        width, height, points = one["width"], one["height"], one["keypoints"]
        images.append({"id": number, "file_name": one["image"], "width": width, "height": height})
        xs, ys = [min(max(p[0], 0), width) for p in points], [min(max(p[1], 0), height) for p in points]
        box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "keypoints": [value for x, y, _ in points for value in (x, y, VISIBLE)],
                "num_keypoints": len(points),
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
                "score": sum(score for _, _, score in points) / len(points),
            }
        )
    category = {"id": 1, "name": kind, "keypoints": list(names), "skeleton": []}
    return {"images": images, "annotations": annotations, "categories": [category]}


def write_keypoints(folder: Path, found: Mapping[str, Any]) -> Path:
    """Write annotations, as `coco` returns them, into keypoints.json, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / ANNOTATIONS, (json.dumps(found) + "\n").encode())
    return folder / ANNOTATIONS
