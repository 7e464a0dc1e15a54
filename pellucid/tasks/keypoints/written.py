"""Predicted key-points as annotations in COCO's format."""

from collections.abc import Mapping, Sequence
from typing import Any

VISIBLE = 2  # COCO's visibility of a labelled point


def coco(pictures: Sequence[Mapping[str, Any]], kind: str, names: Sequence[str]) -> dict[str, Any]:
    """Return predicted key-points of pictures with one object each, as the content of a COCO file.

    pictures: for each its "image" (a file name), "height", "width" and "keypoints" (K, 3): x, y and score. The box of
    the object encloses the points and is clipped to the picture; its score is their mean score.
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
