"""Lines of YOLO text in some shape, groups of labelme's shapes, and categories, whose meaning is known."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pellucid.data import DetectionFolder

# Reads a data set; returns "same", what was misread, or a text that a note must contain.
Check = Callable[[], str]
SIZE = (24, 36)  # (H, W) of the images


def random_image(rng: random.Random, size: tuple[int, int] = SIZE) -> Image.Image:
    """Return an image of noise."""
    return Image.fromarray(np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (*size, 3), np.uint8))


def save_file(image: Image.Image, path: Path, **options: Any) -> None:
    """Write an image; options: of Pillow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def write_file(path: Path, data: bytes) -> None:
    """Write a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_lines(folder: Path, rng: random.Random) -> Check:
    """Lines of YOLO text with boxes, polygons or key-points, in the shape that data.yaml states or another one."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    count, points = rng.randrange(8, 25), rng.randrange(1, 6)
    size = numbers.uniform(0.05, 0.5, (count, 2))
    corner = numbers.uniform(0, 1 - size)
    boxes = np.concatenate([corner, corner + size], 1)
    centred = np.concatenate([corner + size / 2, size], 1)
    inside = corner[:, None] + numbers.uniform(0, 1, (count, points, 2)) * size[:, None]
    visible = numbers.integers(0, 3, (count, points, 1))
    form = rng.choice(["boxes", "polygons", "points", "points and visibility", "confidence", "corners"])
    if form == "polygons":
        angles = np.sort(numbers.uniform(0, 2 * np.pi, (count, max(points, 3))), 1)
        rows = (corner + size / 2)[:, None] + size[:, None] / 2 * np.stack([np.cos(angles), np.sin(angles)], 2)
        boxes = np.concatenate([rows.min(1), rows.max(1)], 1)
    else:
        full = np.concatenate([inside, visible], 2)
        rows = {
            "points": np.concatenate([centred, inside.reshape(count, -1)], 1),
            "points and visibility": np.concatenate([centred, full.reshape(count, -1)], 1),
            "confidence": np.concatenate([centred, numbers.uniform(0.3, 1, (count, 1))], 1),
            "corners": boxes,
        }.get(form, centred)  # fmt: skip
    lines = "".join(f"0 {' '.join(f'{value:.6g}' for value in row)}\n" for row in rows.reshape(count, -1))
    stated = rng.choice(["", "", f"[{points}, 2]", f"[{points}, 3]", f"[{points + 1}, 3]", "[0, 3]"])
    if form in ("boxes", "polygons", "corners", "confidence") and stated != "[0, 3]":
        stated = ""
    if "points" in form and stated == "[0, 3]":  # states that they are polygons
        stated = ""
    write_file(folder / "data.yaml", f"names: [a]\nkpt_shape: {stated}\n".encode())
    write_file(folder / "a.txt", lines.encode())
    save_file(random_image(rng), folder / "a.png")

    def check() -> str:
        source = DetectionFolder(folder)
        objects = source.example(0)[1]
        limits = np.array([SIZE[1], SIZE[0]] * 2)
        text = f"misread lines: {form}, {stated or 'nothing'} stated"
        if len(objects) != count or np.abs(objects.boxes.numpy() - boxes * limits).max() > 0.05:
            return text
        if (form == "polygons") != source.has_masks or ("points" in form) != bool(source.keypoints):
            return text
        if "points" in form:
            assert objects.keypoints is not None
            read = objects.keypoints.numpy()
            if read.shape[1] != points or np.abs(read[..., :2] - inside * limits[:2]).max() > 0.05:
                return text
        return "same"

    return check


def write_groups(folder: Path, rng: random.Random) -> Check:
    """Groups of labelme's shapes with some labels, regions to ignore, and categories without objects."""
    if rng.random() < 0.5:
        return _categories(folder, rng)
    shapes: list[dict[str, Any]] = []
    for _ in range(rng.randrange(1, 12)):
        x, y = rng.randrange(15), rng.randrange(10)
        label, group = rng.choice(["a", "b", "c", "__ignore__"]), rng.choice([None, None, 0, 1, 2])
        kind = rng.choice(["rectangle", "polygon", "polygon", "point"])
        triangle = [[x, y], [x + 9, y], [x + 9, y + 9]]
        points = {"rectangle": [[x, y], [x + 9, y + 9]], "point": [[x, y]]}.get(kind, triangle)
        shapes.append({"label": label, "group_id": group, "shape_type": kind, "points": points})
    save_file(random_image(rng), folder / "a.png")
    write_file(folder / "a.json", json.dumps({"imagePath": "a.png", "shapes": shapes}).encode())
    regions = [one for one in shapes if one["shape_type"] != "point" and one["label"] != "__ignore__"]
    keys = [(one["label"], id(one) if one["group_id"] is None else one["group_id"]) for one in regions]
    expected = sorted(label for label, _ in {*keys})

    def check() -> str:
        source = DetectionFolder(folder)
        labels = [(source.classes or ())[label] for label in source.example(0)[1].labels.tolist()]
        return "same" if sorted(labels) == expected else f"misread groups: {labels} in place of {expected}"

    return check


def _categories(folder: Path, rng: random.Random) -> Check:
    names = ["a", "b", "c", "d"][: rng.randrange(2, 5)]
    parent = rng.choice(["none", "things", names[0]])
    categories = [{"id": k, "name": name, "supercategory": parent if k else "none"} for k, name in enumerate(names)]
    used = [key for key in range(len(names)) if rng.random() < 0.7] or [1]
    rng.shuffle(categories)
    items = [{"id": k, "image_id": 1, "category_id": key, "bbox": [1, 1, 9, 9]} for k, key in enumerate(used)]
    content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": items, "categories": categories}
    save_file(random_image(rng), folder / "a.png")
    write_file(folder / "a.json", json.dumps(content).encode())

    def check() -> str:
        source = DetectionFolder(folder)
        classes = source.classes or ()
        labels = [classes[label] for label in source.example(0)[1].labels.tolist()]
        if labels != [names[key] for key in used]:
            return f"misread categories: {labels}"
        is_parent_unused = parent == names[0] and 0 not in used
        absent = [name for k, name in enumerate(names) if k not in used and not (is_parent_unused and k == 0)]
        if set(classes) != set(names) - ({names[0]} if is_parent_unused else set()):
            return f"misread categories: {classes} of {names}"
        return f"no object is of the class {absent[0]!r}" if absent else "same"

    return check
