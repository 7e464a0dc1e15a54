"""Masks of classes from polygons, compared with matplotlib's polygons and with exact pixel counts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.path import Path as MplPath
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder
from pellucid.data.object_masks import ObjectMasks

SIZE = (40, 60)  # (H, W)
RECTANGLE = [(5, 4), (25, 4), (25, 14), (5, 14)]  # 20 x 10 pixels
TRIANGLE = [(30, 10), (50, 10), (30, 30)]  # half of 20 x 20 pixels
SQUARE = [(15, 0), (35, 0), (35, 20), (15, 20)]


def write_labelme(root: Path, shapes: list[tuple[str, list[tuple[int, int]]]], kind: str = "polygon") -> Path:
    root.mkdir()
    Image.new("RGB", (SIZE[1], SIZE[0])).save(root / "a.png")
    shape_entries = [{"label": name, "points": points, "shape_type": kind} for name, points in shapes]
    content = {"imagePath": "a.png", "imageHeight": SIZE[0], "imageWidth": SIZE[1], "shapes": shape_entries}
    (root / "a.json").write_text(json.dumps(content))
    return root


def write_coco(root: Path, shapes: list[tuple[str, list[tuple[int, int]]]]) -> Path:
    root.mkdir()
    Image.new("RGB", (SIZE[1], SIZE[0])).save(root / "a.png")
    names = sorted({name for name, _ in shapes})
    annotations: list[Any] = []
    for name, points in shapes:
        x, y = zip(*points, strict=True)
        box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
        annotations.append({
            "id": len(annotations), "image_id": 1, "category_id": names.index(name) + 7, "bbox": box, "iscrowd": 0,
            "segmentation": [[value for point in points for value in point]], "area": box[2] * box[3],
        })  # fmt: skip
    images = [{"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}]
    categories = [{"id": k + 7, "name": name} for k, name in enumerate(names)]
    (root / "all.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return root


def mask_by_matplotlib(shapes: list[tuple[str, list[tuple[int, int]]]], classes: tuple[str, ...]) -> np.ndarray:
    """Return the mask in which a pixel belongs to the last polygon that contains its centre, by matplotlib's Path."""
    rows, columns = np.indices(SIZE)
    centres = np.stack((columns.ravel() + 0.5, rows.ravel() + 0.5), 1)
    mask = np.zeros(SIZE, int)
    for name, points in shapes:
        mask[MplPath(points).contains_points(centres).reshape(SIZE)] = classes.index(name)
    return mask


@pytest.mark.parametrize("write", [write_labelme, write_coco])
def test_masks_equal_those_rasterized_by_matplotlib(write: Any, tmp_path: Path) -> None:
    shapes = [("wall", RECTANGLE), ("roof", TRIANGLE), ("door", SQUARE)]
    masks = ObjectMasks(DetectionFolder(write(tmp_path / "set", shapes)))
    assert masks.classes == ("background", "door", "roof", "wall")
    image, mask = masks.example(0)
    assert image.shape == (3, *SIZE)
    rows, columns = np.indices(SIZE)
    unambiguous = rows + columns != 59  # centres on the hypotenuse of the triangle are neither inside nor outside
    expected = mask_by_matplotlib(shapes, masks.classes)
    np.testing.assert_array_equal(mask.numpy()[unambiguous], expected[unambiguous])
    _, door, roof, wall = torch.bincount(mask.flatten(), minlength=4).tolist()
    assert (door, wall) == (20 * 20, 10 * 10)  # the door was drawn last, so it covers both others
    assert abs(roof - (20 * 20 / 2 - 5 * 10)) <= 10  # at most half of the 20 pixels on the hypotenuse


def test_later_shapes_cover_earlier_ones(tmp_path: Path) -> None:
    shapes_in_order = [("wall", RECTANGLE), ("door", SQUARE)]
    for name, shapes in (("first", shapes_in_order), ("second", shapes_in_order[::-1])):
        masks = ObjectMasks(DetectionFolder(write_labelme(tmp_path / name, shapes)))
        counts = torch.bincount(masks.example(0)[1].flatten(), minlength=3).tolist()
        door, wall = (400, 100) if name == "first" else (300, 200)
        assert counts == [SIZE[0] * SIZE[1] - door - wall, door, wall]


def test_objects_named_background_are_background(tmp_path: Path) -> None:
    shapes = [("wall", RECTANGLE), ("background", SQUARE)]
    masks = ObjectMasks(DetectionFolder(write_labelme(tmp_path / "set", shapes)))
    assert masks.classes == ("background", "wall")
    assert int(masks.example(0)[1].sum()) == 100


def test_batches_have_masks_of_the_resized_images(tmp_path: Path) -> None:
    masks = ObjectMasks(DetectionFolder(write_coco(tmp_path / "set", [("wall", RECTANGLE)]), size=30), ignored=255)
    batch = masks.batch([0, 0], torch.Generator())
    assert batch.images.shape == (2, 3, 20, 30)
    assert batch.targets.shape == (2, 20, 30)
    assert batch.targets.dtype is torch.int64
    assert int((batch.targets == 1).sum()) == 2 * 10 * 5
    assert (masks.sizes_vary, masks.preprocess, len(masks)) == (True, {"size": 30}, 1)
    assert masks.checksum != masks.source.checksum


def test_objects_without_an_outline_are_refused(tmp_path: Path) -> None:
    source = DetectionFolder(write_labelme(tmp_path / "set", [("wall", [(5, 4), (25, 14)])], kind="rectangle"))
    with pytest.raises(PellucidError, match=r"a\.json has an object without an outline in a\.png; give each a polygon"):
        ObjectMasks(source)
