"""Pictures with one object each, whose three key-points are coloured dots, and their COCO annotations."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

POINT_NAMES = ("red", "green", "blue")
COLOURS = np.array([[230, 40, 40], [40, 220, 60], [50, 60, 240]], dtype=np.float64)


def draw(seed: int, height: int = 24, width: int = 24, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture (H, W, 3) uint8 with a soft dot at each point, and the points (3, 2): x, y.

    scale: the relative size of the dots, for pictures whose sides are `scale` times as long.
    """
    rng = np.random.default_rng(seed)
    x = np.array([rng.uniform(4, 10), rng.uniform(14, 20), rng.uniform(9, 15)])
    y = np.array([rng.uniform(13, 20), rng.uniform(13, 20), rng.uniform(4, 9)])
    points = np.stack((x * width / 24, y * height / 24), 1)
    rows, columns = np.mgrid[:height, :width] + 0.5
    picture = rng.normal(110, 8, (height, width, 3))
    for (px, py), colour in zip(points, COLOURS, strict=True):
        dot_weight = np.exp(-((columns - px) ** 2 + (rows - py) ** 2) / (2 * (1.3 * scale) ** 2))[..., None]
        picture = picture * (1 - dot_weight) + colour * dot_weight
    return picture.clip(0, 255).astype(np.uint8), points


def write(
    folder: Path, part: str, count: int, first_seed: int, size: tuple[int, int] = (24, 24), scale: float = 1.0
) -> None:
    """Write `count` pictures, drawn with the seeds from `first_seed` on, as PART/*.png, and PART.json."""
    (folder / part).mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for k in range(count):
        picture, points = draw(first_seed + k, *size, scale)
        Image.fromarray(picture).save(folder / part / f"a_{k:02d}.png")
        images.append({"id": k + 1, "file_name": f"a_{k:02d}.png", "height": size[0], "width": size[1]})
        low, high = points.min(0), points.max(0)
        annotations.append({
            "id": k + 1, "image_id": k + 1, "category_id": 1, "iscrowd": 0, "num_keypoints": 3,
            "bbox": [*low.tolist(), *(high - low).tolist()], "area": float((high - low).prod()),
            "keypoints": [value for x, y in points.tolist() for value in (x, y, 2)],
        })  # fmt: skip
    category = {"id": 1, "name": "triangle", "keypoints": list(POINT_NAMES), "skeleton": []}
    annotation_file = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / f"{part}.json").write_text(json.dumps(annotation_file))


def draw_several(seed: int, count: int, height: int = 72, width: int = 96) -> tuple[np.ndarray, list[dict]]:
    """Return a picture with `count` objects that do not overlap, 24 to 32 pixels long, and their annotations."""
    rng = np.random.default_rng(seed)
    picture = rng.normal(110, 8, (height, width, 3)).clip(0, 255).astype(np.uint8)
    entries = []
    cells = rng.permutation(6)[:count]
    for k, cell in enumerate(cells.tolist()):
        side = int(rng.integers(24, 33))
        left, top = (
            32 * (cell % 3) + int(rng.integers(0, 33 - side)),
            36 * (cell // 3) + int(rng.integers(0, 37 - side)),
        )
        patch, points = draw(1000 * seed + k, side, side, side / 24)
        picture[top : top + side, left : left + side] = patch
        keypoints = [value for x, y in points.tolist() for value in (x + left, y + top, 2)]
        entries.append({
            "category_id": 1, "iscrowd": 0, "num_keypoints": 3, "bbox": [left, top, side, side],
            "area": float(side * side), "keypoints": keypoints,
        })  # fmt: skip
    return picture, entries


def write_several(folder: Path, part: str, counts: list[int], first_seed: int) -> None:
    """Write a picture with each number of objects as PART/b_*.png, and PART.json."""
    (folder / part).mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for k, count in enumerate(counts):
        picture, entries = draw_several(first_seed + k, count)
        Image.fromarray(picture).save(folder / part / f"b_{k:02d}.png")
        images.append({"id": k + 1, "file_name": f"b_{k:02d}.png", "height": 72, "width": 96})
        annotations += [{"id": len(annotations) + n, "image_id": k + 1, **item} for n, item in enumerate(entries, 1)]
    category = {"id": 1, "name": "triangle", "keypoints": list(POINT_NAMES), "skeleton": []}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / f"{part}.json").write_text(json.dumps(content))
