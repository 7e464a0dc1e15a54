"""Lines and boxes in another shape than the format defines are refused with a question, and valid ones are read."""

import json

import numpy as np
import pytest

from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder
from pellucid.data.annotations import read_annotations
from pellucid.data.annotations.lint import lint
from pellucid.data.annotations.yolo_lines import MIN_LINES
from pellucid.data.tree import open_tree
from tests.data.annotations.sets import voc_xml
from tests.data.pictures import picture_bytes

HEIGHT, WIDTH = 60, 90
SEEDS = range(6)


def random_boxes(seed, count=24):
    """Return the corners (count, 4) of boxes inside the image, as fractions of its sides."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.05, 0.5, (count, 2))
    corner = rng.uniform(0, 1 - size)
    return np.concatenate([corner, corner + size], 1)


def random_points(boxes, seed, n_points):
    """Return key-points (count, n_points, 2) inside the boxes, and their visibility (count, n_points)."""
    rng = np.random.default_rng(seed)
    corner, size = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
    points = corner + rng.uniform(0.01, 0.99, (len(boxes), n_points, 2)) * size
    return points, rng.integers(0, 3, (len(boxes), n_points))


def centre_and_size(boxes):
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)


def corner_and_size(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)


def yolo_set(lines, settings=""):
    """Return the files of one image with lines of numbers, each for class 0."""
    text = "".join(f"0 {' '.join(f'{value:.6g}' for value in line)}\n" for line in lines)
    image = picture_bytes((0, 0, 0), (WIDTH, HEIGHT))
    return {"data.yaml": f"names: [cat]\n{settings}".encode(), "images/a.png": image, "labels/a.txt": text.encode()}


def read(path):
    with open_tree(path) as tree:
        return read_annotations(tree)


def refusals(path):
    return [fault.reason for fault in read(path).faults if fault.effect == "refused"]


def with_points(boxes, points, visibility=None):
    """Return the lines of boxes with key-points, as in YOLO's format."""
    values = points if visibility is None else np.concatenate([points, visibility[..., None]], 2)
    return np.concatenate([centre_and_size(boxes), values.reshape(len(boxes), -1)], 1)


@pytest.mark.parametrize("n_points", [1, 2, 3, 5, 17])
@pytest.mark.parametrize("numbers", [2, 3])
def test_key_points_are_read_by_the_stated_shape(write_tree, n_points, numbers):
    boxes = random_boxes(n_points)
    points, visibility = random_points(boxes, n_points, n_points)
    if numbers == 2:
        visibility[:] = 2
        points[::5, 0], visibility[::5, 0] = 0, 0  # the usual way to write a missing point
    lines = with_points(boxes, points, visibility if numbers == 3 else None)
    annotations = read(write_tree("set", yolo_set(lines, f"kpt_shape: [{n_points}, {numbers}]\n")))
    assert annotations.faults == ()
    assert len(annotations.keypoints) == n_points
    for instance, box, row, visible in zip(annotations.records[0].instances, boxes, points, visibility, strict=True):
        np.testing.assert_allclose(instance.box, box * [WIDTH, HEIGHT, WIDTH, HEIGHT], atol=1e-2)
        expected = np.concatenate([row * [WIDTH, HEIGHT], visible[:, None]], 1)
        np.testing.assert_allclose(np.reshape(instance.points, (-1, 3)), expected, atol=1e-2)


@pytest.mark.parametrize("n_points", [1, 2, 3, 5, 17])
def test_key_points_of_another_shape_than_stated_are_refused(write_tree, n_points):
    boxes = random_boxes(n_points)
    points, visibility = random_points(boxes, n_points, n_points)
    for numbers, lines in ((2, with_points(boxes, points, visibility)), (3, with_points(boxes, points))):
        path = write_tree(f"set{numbers}", yolo_set(lines, f"kpt_shape: [{n_points}, {numbers}]\n"))
        assert len(refusals(path)) == len(boxes)
        assert f"state kpt_shape: [{n_points}, {5 - numbers}] in data.yaml" in refusals(path)[0]
        other = write_tree(f"other{numbers}", yolo_set(lines, f"kpt_shape: [{n_points + 1}, {numbers}]\n"))
        message = f"numbers are neither a class with a box and {n_points + 1} key-points nor"
        if (n_points, numbers) == (2, 2):  # the same length: a visibility of 2 cannot be a coordinate
            message = "coordinate 2 is not a fraction of the image's width or height"
        assert message in refusals(other)[0]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_points", [1, 2, 3, 4, 5, 17])
@pytest.mark.parametrize("numbers", [2, 3])
def test_key_points_without_a_stated_shape_are_refused_and_never_read_as_polygons(write_tree, n_points, numbers, seed):
    boxes = random_boxes(seed, MIN_LINES)
    points, visibility = random_points(boxes, seed, n_points)
    lines = with_points(boxes, points, visibility if numbers == 3 else None)
    path = write_tree("set", yolo_set(lines))
    assert any("state kpt_shape: [K, 3] in data.yaml" in reason for reason in refusals(path))
    if numbers == 3:  # also a single line
        path = write_tree("one", yolo_set(lines[:1]))
        assert any("state kpt_shape: [K, 3] in data.yaml" in reason for reason in refusals(path))


@pytest.mark.parametrize("seed", range(40))
def test_polygons_are_read_as_polygons(write_tree, seed):
    """Sets of polygons: regular ones, rectangles and rotated rectangles of any number of lines."""
    rng = np.random.default_rng(seed)
    count, corners = int(rng.integers(1, 30)), int(rng.integers(3, 9))
    centre, radius = rng.uniform(0.2, 0.8, (count, 1, 2)), rng.uniform(0.03, 0.18, (count, 1, 2))
    angle = 2 * np.pi * np.arange(corners) / corners + rng.choice([0, np.pi / 4, 1.1])
    polygons = centre + radius * np.stack([np.cos(angle), np.sin(angle)], -1)
    annotations = read(write_tree("set", yolo_set(polygons.reshape(count, -1))))
    assert annotations.faults == ()
    for instance, polygon in zip(annotations.records[0].instances, polygons, strict=True):
        np.testing.assert_allclose(np.reshape(instance.outline, (-1, 2)), polygon * [WIDTH, HEIGHT], atol=1e-2)


def test_a_stated_shape_without_key_points_means_polygons(write_tree):
    boxes = random_boxes(0, MIN_LINES)
    lines = with_points(boxes, random_points(boxes, 0, 2)[0])
    assert refusals(write_tree("set", yolo_set(lines)))
    assert read(write_tree("polygons", yolo_set(lines, "kpt_shape: [0, 3]\n"))).has_masks


@pytest.mark.parametrize("value", [2, 1.2, -0.2, 1.5, 20])
@pytest.mark.parametrize("position", [4, 5, 7])
def test_polygons_that_leave_the_image_far_are_refused(write_tree, value, position):
    lines = [[0.1, 0.1, 0.3, 0.1, 0.3, 0.4, 0.1, 0.4]]
    lines[0][position] = value
    (reason,) = refusals(write_tree("set", yolo_set(lines)))
    assert reason.startswith(f"polygon has the number {value:g}, which is not from 0 to 1; for boxes with key-points, ")


@pytest.mark.parametrize("value", [1.004, -0.01, 1.05])
def test_polygons_drawn_past_the_border_are_read(write_tree, value):
    lines = [[0.1, 0.1, 0.3, 0.1, value, 0.4, 0.1, 0.4]]
    assert refusals(write_tree("set", yolo_set(lines))) == []


@pytest.mark.parametrize("kind", ["box", "polygon", "key-points"])
def test_a_confidence_is_refused_with_its_name(write_tree, kind):
    boxes = random_boxes(1)
    points, visibility = random_points(boxes, 1, 3)
    lines, settings = {
        "box": (centre_and_size(boxes), ""),
        "polygon": (np.tile([0.1, 0.1, 0.3, 0.1, 0.3, 0.4], (24, 1)), ""),
        "key-points": (with_points(boxes, points, visibility), "kpt_shape: [3, 3]\n"),
    }[kind]
    confidence = np.random.default_rng(0).uniform(0.3, 1, (24, 1))
    reasons = refusals(write_tree("set", yolo_set(np.concatenate([lines, confidence], 1), settings)))
    assert len(reasons) == 24
    assert "remove the confidence at the end, which predictions have and labels do not have" in reasons[0]


def test_boxes_and_polygons_together_are_read_as_boxes_with_a_note(write_tree, capsys):
    lines = [*centre_and_size(random_boxes(2, 5)), *np.tile([0.1, 0.1, 0.3, 0.1, 0.3, 0.4], (3, 1))]
    source = DetectionFolder(path := write_tree("set", yolo_set(lines)))
    assert not source.has_masks
    assert len(source.example(0)[1]) == 8
    assert f"{path}: 3 objects have an outline and 5 only a box, so all are read as boxes" in capsys.readouterr().err


def coco_set(numbers):
    image = {"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}
    items = [{"id": k, "image_id": 1, "category_id": 1, "bbox": row.tolist()} for k, row in enumerate(numbers)]
    content = {"images": [image], "annotations": items, "categories": [{"id": 1, "name": "cat"}]}
    return {"a.png": picture_bytes((0, 0, 0), (WIDTH, HEIGHT)), "a.json": json.dumps(content).encode()}


def voc_set(numbers):
    xml = voc_xml(*(("cat", *row, 0) for row in numbers), size=(HEIGHT, WIDTH))
    return {"a.png": picture_bytes((0, 0, 0), (WIDTH, HEIGHT)), "a.xml": xml}


PIXELS = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])
# The numbers of boxes in other readings than that of the format, and how the message names them.
OTHER_READINGS = {
    "yolo, corners": (yolo_set, "corners in place of centre and size?"),
    "yolo, corner and size": (
        lambda boxes: yolo_set(corner_and_size(boxes)), "upper left corner and size in place of centre and size?",
    ),
    "coco, corners": (lambda boxes: coco_set(boxes * PIXELS), "corners in place of upper left corner and size?"),
    "coco, centre": (
        lambda boxes: coco_set(centre_and_size(boxes) * PIXELS),
        "centre and size in place of upper left corner and size?",
    ),
    "voc, sizes": (
        lambda boxes: voc_set(corner_and_size(boxes) * PIXELS), "upper left corner and size in place of corners?",
    ),
    "voc, centre": (lambda boxes: voc_set(centre_and_size(boxes) * PIXELS), "centre and size in place of corners?"),
}  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", OTHER_READINGS)
def test_boxes_in_another_reading_are_refused_with_its_name(write_tree, kind, seed):
    write, question = OTHER_READINGS[kind]
    path = write_tree("set", write(random_boxes(seed)))
    with pytest.raises(PellucidError, match=r"[0-9]+ of 24 boxes leave their image, read as ") as caught:
        DetectionFolder(path)
    assert question in str(caught.value)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", ["yolo", "coco", "voc"])
def test_boxes_in_the_reading_of_the_format_are_read_even_if_a_few_leave_the_image(write_tree, kind, seed):
    boxes = random_boxes(seed)
    boxes[:2] += 0.3 * (seed % 2)
    boxes[2:6, 2:] += 0.3 * (seed % 3 == 2)  # large boxes beyond the border
    files = {
        "yolo": lambda: yolo_set(centre_and_size(boxes)),
        "coco": lambda: coco_set(corner_and_size(boxes) * PIXELS),
        "voc": lambda: voc_set(boxes * PIXELS),
    }[kind]()
    path = write_tree("set", files)
    assert refusals(path) == []
    source = DetectionFolder(path)
    expected = np.clip(boxes * PIXELS, 0, PIXELS)
    inside = (expected[:, 2:] > expected[:, :2]).all(1)
    np.testing.assert_allclose(source.example(0)[1].boxes.numpy(), expected[inside], atol=1e-2)


def test_boxes_in_another_unit_are_refused(write_tree):
    boxes = random_boxes(0) * PIXELS * 4
    with pytest.raises(PellucidError, match=r"boxes leave their image, read as corners; in another unit or order\?"):
        DetectionFolder(write_tree("set", voc_set(boxes)))


def labelme_set(corners):
    shapes = [
        {"label": "cat", "shape_type": "rectangle", "points": [row[:2].tolist(), row[2:].tolist()]} for row in corners
    ]
    content = {"imagePath": "a.png", "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": shapes}
    return {"a.png": picture_bytes((0, 0, 0), (WIDTH, HEIGHT)), "a.json": json.dumps(content).encode()}


FRACTIONS = {
    "coco": lambda boxes: coco_set(corner_and_size(boxes)),
    "coco, corners": coco_set,
    "coco, centre": lambda boxes: coco_set(centre_and_size(boxes)),
    "voc": voc_set,
    "voc, sizes": lambda boxes: voc_set(corner_and_size(boxes)),
    "labelme": labelme_set,
}


@pytest.mark.parametrize("count", [3, 24, 60])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", FRACTIONS)
def test_boxes_as_fractions_of_the_image_are_refused(write_tree, kind, seed, count):
    path = write_tree("set", FRACTIONS[kind](random_boxes(seed, count)))
    (reason,) = refusals(path)
    assert reason.startswith(f"{count} of {count} boxes have only numbers from 0 to 1, such as (0.")
    assert "fractions of the image in place of pixels? Multiply them by its width and height" in reason
    assert any(reason in fault.reason for fault in lint(path).faults)


@pytest.mark.parametrize("seed", SEEDS)
def test_small_boxes_in_pixels_are_read(write_tree, seed):
    boxes = random_boxes(seed) * PIXELS / 8
    for kind, write in (("voc", voc_set), ("labelme", labelme_set)):
        assert refusals(write_tree(kind, write(boxes))) == []
    assert refusals(write_tree("coco", coco_set(corner_and_size(boxes)))) == []
    assert refusals(write_tree("yolo", yolo_set(centre_and_size(boxes / PIXELS)))) == []
    assert refusals(write_tree("none", voc_set(np.zeros((5, 4))))) == []  # boxes without area are left out


@pytest.mark.parametrize("count", [4, 5, 10])
@pytest.mark.parametrize("seed", SEEDS)
def test_sizes_in_place_of_corners_are_refused_in_small_sets(write_tree, count, seed):
    """Two of the boxes begin right of the middle, so that their widths are smaller than their left sides."""
    boxes = random_boxes(seed, count)
    boxes[:2] = [[0.6, 0.1, 0.8, 0.5], [0.1, 0.7, 0.4, 0.9]]
    path = write_tree("set", voc_set(corner_and_size(boxes) * PIXELS))
    (reason,) = refusals(path)
    assert "boxes leave their image, read as corners; all fit as upper left corner and size" in reason


def test_a_few_boxes_with_corners_in_the_wrong_order_are_left_out(write_tree):
    boxes = random_boxes(1) * PIXELS
    boxes[:2] = boxes[:2][:, [2, 3, 0, 1]]
    annotations = read(write_tree("set", voc_set(boxes)))
    assert [fault.effect for fault in annotations.faults] == ["dropped", "dropped"]
