"""Our average precision and recall compared with pycocotools', on random sets of boxes, masks and key-points."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import torch

from conformance.case import Case, relative_error
from pellucid.metrics.coco import Coco
from pellucid.ops.image_objects import Detections, Objects

TOLERANCE = 1e-9
N_SETS = 200
IOU_TYPES = {"boxes": "bbox", "masks": "segm", "keypoints": "keypoints"}
N_KEYPOINTS = 17
IMAGE_SIDE = 160  # pixels: enough for objects of COCO's three sizes (small, medium and large)
GRID_STEP = 8  # spacing in pixels of the grid in the sets with equal overlaps


class SetGenerator(np.random.Generator):
    """NumPy's random generator for a set; `on_grid` is whether the boxes of the set lie on a grid."""

    def __init__(self, seed: int) -> None:
        super().__init__(np.random.PCG64(seed))
        self.on_grid = seed % 3 == 0


@dataclass(frozen=True)
class ImageSet:
    """Objects, their areas and detections by image; as in COCO, an object's area may differ from that of its box."""

    objects: list[Objects]
    areas: list[torch.Tensor]
    detections: list[Detections]


def cases() -> Iterator[Case]:
    """Yield a case for each of N_SETS sets of boxes, of masks and of key-points."""
    for kind, iou_type in IOU_TYPES.items():
        suite = f"pycocotools COCOeval {iou_type}"
        for seed in range(N_SETS):
            yield Case(suite, version("pycocotools"), f"set {seed}", Coco, partial(_compare, kind, seed), TOLERANCE)


def _compare(kind: str, seed: int) -> float:
    """Return the largest relative error of the figures; a figure without true objects must be undefined in both."""
    image_set = draw_set(kind, seed)
    actual = torch.tensor(list(pellucid_figures(kind, image_set).values()), dtype=torch.float64)
    return relative_error(
        "figures", actual.nan_to_num(nan=-1.0), torch.from_numpy(pycocotools_figures(kind, image_set))
    )


def pellucid_figures(kind: str, image_set: ImageSet) -> dict[str, float]:
    """Return our figures by name; a figure without true objects is NaN."""
    evaluation = Coco(kind)
    for detections, truth, areas in zip(image_set.detections, image_set.objects, image_set.areas, strict=True):
        evaluation.add(detections, truth, areas)
    return evaluation.figures()


def pycocotools_figures(kind: str, image_set: ImageSet) -> np.ndarray:
    """Return pycocotools' figures, -1 for a figure without true objects."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth: Any = COCO()
    results: Any = COCO()
    images = [{"id": index, "height": IMAGE_SIDE, "width": IMAGE_SIDE} for index in range(len(image_set.objects))]
    labels = {int(label) for instances in (*image_set.objects, *image_set.detections) for label in instances.labels}
    categories = [{"id": label} for label in sorted(labels)]
    truth.dataset = {"images": images, "categories": categories, "annotations": _true_annotations(kind, image_set)}
    detected = _detection_results(kind, image_set)
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        if detected:
            results = truth.loadRes(detected)
        else:  # loadRes raises an error for an empty list
            results.dataset = {"images": images, "categories": categories, "annotations": []}
            results.createIndex()
        evaluation: Any = cast(Any, COCOeval)(truth, results, IOU_TYPES[kind])
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.asarray(evaluation.stats)


def _true_annotations(kind: str, image_set: ImageSet) -> list[dict[str, Any]]:
    """Return the objects as COCO annotations, with ids from 1, because pycocotools uses the id 0 for unmatched."""
    entries: list[dict[str, Any]] = []
    for image, (truth, areas) in enumerate(zip(image_set.objects, image_set.areas, strict=True)):
        for k in range(len(truth)):
            assert truth.crowd is not None
            entry = _entry(kind, image, truth, k)
            entry |= {"id": len(entries) + 1, "area": float(areas[k]), "iscrowd": int(truth.crowd[k])}
            entry["bbox"] = _xywh(truth.boxes[k])
            if truth.keypoints is not None:
                entry["num_keypoints"] = int((truth.keypoints[k, :, 2] > 0).sum())
            entries.append(entry)
    return entries


def _detection_results(kind: str, image_set: ImageSet) -> list[dict[str, Any]]:
    return [
        {**_entry(kind, image, detections, k), "score": float(detections.scores[k])}
        for image, detections in enumerate(image_set.detections)
        for k in range(len(detections))
    ]


def _entry(kind: str, image: int, instances: Objects | Detections, k: int) -> dict[str, Any]:
    """Return the keys that annotations and results share: image, category, and one of box, mask and key-points."""
    from pycocotools import mask

    entry: dict[str, Any] = {"image_id": image, "category_id": int(instances.labels[k])}
    if kind == "boxes":
        entry["bbox"] = _xywh(instances.boxes[k])
    elif kind == "masks":
        assert instances.masks is not None
        entry["segmentation"] = mask.encode(np.asfortranarray(instances.masks[k].numpy().astype(np.uint8)))
    else:
        assert instances.keypoints is not None
        entry["keypoints"] = instances.keypoints[k].flatten().tolist()
    return entry


def _xywh(box: torch.Tensor) -> list[float]:
    x0, y0, x1, y1 = box.tolist()
    return [x0, y0, x1 - x0, y1 - y0]


def draw_set(kind: str, seed: int) -> ImageSet:
    """Draw a set that covers many situations: sizes, crowds, equal scores, empty images, too many detections.

    Coordinates are multiples of 1/4, so equal overlaps are computed as equal by both programs. In every third set the
    boxes are of one size on a grid: many overlaps and areas lie at a threshold, and many overlaps are equal.
    """
    rng = SetGenerator(seed)
    classes, images = int(rng.integers(1, 5)), int(rng.integers(1, 7))
    max_objects, crowd_fraction = int(rng.integers(1, 9)), rng.choice([0.0, 0.2, 0.6])
    objects, areas, detections = [], [], []
    for _ in range(images):
        truth = _objects(kind, rng, int(rng.integers(0, max_objects + 1)), classes, crowd_fraction)
        boxes = (truth.boxes[:, 2:] - truth.boxes[:, :2]).prod(1)
        objects.append(truth)
        areas.append(boxes * torch.from_numpy(rng.choice([1.0, 0.7, 0.1], len(truth))) if seed % 2 else boxes)
        detections.append(_detections(kind, rng, truth, classes))
    return ImageSet(objects, areas, detections)


def _objects(kind: str, rng: SetGenerator, n: int, classes: int, crowd_fraction: float) -> Objects:
    boxes = _boxes(rng, n)
    labels = torch.from_numpy(rng.integers(1, classes + 1, n))
    keypoints = _keypoints(rng, boxes) if kind == "keypoints" else None
    if keypoints is not None:
        is_unlabelled = torch.from_numpy(rng.random((n, N_KEYPOINTS)) < rng.random((n, 1)) * 0.7)
        is_unlabelled[torch.from_numpy(rng.random(n) < 0.15)] = True  # without a labelled point
        keypoints[is_unlabelled] = 0.0
    crowd = torch.from_numpy(rng.random(n) < crowd_fraction)
    return Objects(boxes, labels, _masks(rng, boxes) if kind == "masks" else None, keypoints, crowd)


def _detections(kind: str, rng: SetGenerator, truth: Objects, classes: int) -> Detections:
    """Return detections: copies of true boxes, shifted slightly or not at all, and random boxes."""
    max_copies = 300 if rng.random() < 0.1 else 4  # only 100 detections of an image count, or 20 with key-points
    copied_indices = torch.from_numpy(
        rng.integers(0, max(len(truth), 1), int(rng.integers(0, max_copies * (len(truth) > 0) + 1)))
    )
    if rng.on_grid:
        boxes = truth.boxes[copied_indices] + GRID_STEP * torch.from_numpy(
            rng.integers(-1, 2, (len(copied_indices), 2))
        ).repeat(1, 2)
    else:
        shift = np.round(rng.normal(0, rng.choice([0, 1, 4, 10]), (len(copied_indices), 4)) * 4) / 4
        boxes = (truth.boxes[copied_indices] + torch.from_numpy(shift)).clamp(0, IMAGE_SIDE)
        boxes = torch.cat([boxes[:, :2].minimum(boxes[:, 2:]), boxes[:, :2].maximum(boxes[:, 2:])], 1)
    n_random = int(rng.integers(0, 6))
    boxes = torch.cat([boxes, _boxes(rng, n_random)])
    labels = torch.cat([truth.labels[copied_indices], torch.from_numpy(rng.integers(1, classes + 1, n_random))])
    is_mislabelled = torch.from_numpy(rng.random(len(labels)) < 0.15)
    labels = torch.where(is_mislabelled, torch.from_numpy(rng.integers(1, classes + 1, len(labels))), labels)
    scores = torch.from_numpy(rng.integers(0, int(rng.choice([4, 1000])), len(labels)) / 1000)
    keypoints = None
    if kind == "keypoints":
        keypoints = _keypoints(rng, boxes)
        assert truth.keypoints is not None
        jitter = torch.from_numpy(rng.normal(0, rng.choice([0.0, 0.3, 3.0]), (len(copied_indices), N_KEYPOINTS, 2)))
        keypoints[: len(copied_indices), :, :2] = truth.keypoints[copied_indices][:, :, :2] + jitter
    return Detections(boxes, scores, labels, _masks(rng, boxes) if kind == "masks" else None, keypoints)


def _boxes(rng: SetGenerator, n: int) -> torch.Tensor:
    """Return boxes with sides of 4 to 128 pixels, one in twenty of width 0; on the grid, boxes of 32 x 32 pixels."""
    if rng.on_grid:
        corners = GRID_STEP * rng.integers(1, 5, (n, 2))
        return torch.from_numpy(np.concatenate([corners, corners + 32], 1).astype(float))
    sides = np.round(2 ** rng.uniform(2, 7, (n, 2)) * 4) / 4
    sides[rng.random(n) < 0.05, 0] = 0.0
    corners = np.round(rng.uniform(0, 1, (n, 2)) * (IMAGE_SIDE - sides) * 4) / 4
    return torch.from_numpy(np.concatenate([corners, corners + sides], 1))


def _masks(rng: SetGenerator, boxes: torch.Tensor) -> torch.Tensor:
    """Return a mask of an ellipse in each box, some with a hole: (n, IMAGE_SIDE, IMAGE_SIDE)."""
    centres = torch.arange(IMAGE_SIDE) + 0.5
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).clamp_min(1e-3) / 2
    x, y = ((centres - middle[:, k : k + 1]) / half[:, k : k + 1] for k in (0, 1))  # (n, IMAGE_SIDE)
    radius_squared = x[:, None].square() + y[:, :, None].square()
    hole_radius_squared = torch.from_numpy(rng.choice([0.0, 0.3], len(boxes)))[:, None, None]
    return (radius_squared <= 1) & (radius_squared >= hole_radius_squared)


def _keypoints(rng: SetGenerator, boxes: torch.Tensor) -> torch.Tensor:
    """Return random key-points in each box, at the same relative positions in all boxes of a grid: (n, 17, 3)."""
    fractions = torch.from_numpy(rng.random((1 if rng.on_grid else len(boxes), N_KEYPOINTS, 2)))
    positions = boxes[:, None, :2] + fractions * (boxes[:, 2:] - boxes[:, :2])[:, None]
    return torch.cat([positions, torch.full((len(boxes), N_KEYPOINTS, 1), 2.0, dtype=torch.float64)], 2)
