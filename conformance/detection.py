"""Our average precision and recall beside pycocotools', on drawn sets of boxes, masks and key-points."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import torch

from conformance.case import Case, gap
from pellucid.image_objects import Detections, Objects
from pellucid.metrics.coco import Coco

TOLERANCE = 1e-9
SETS = 200
KINDS = {"boxes": "bbox", "masks": "segm", "keypoints": "keypoints"}
POINTS = 17
IMAGE = 160  # pixels on a side: an object may be small, medium or large
GRID = 8  # pixels between the boxes of the sets with equal overlaps


class Draws(np.random.Generator):
    """NumPy's generator for a set; grid: whether the boxes of the set are on a grid."""

    def __init__(self, seed: int) -> None:
        super().__init__(np.random.PCG64(seed))
        self.grid = seed % 3 == 0


@dataclass(frozen=True)
class Drawn:
    """Images with objects and detections; areas: of the objects, not always those of their boxes, as in COCO."""

    objects: list[Objects]
    areas: list[torch.Tensor]
    detections: list[Detections]


def cases() -> Iterator[Case]:
    """Yield every set, for boxes, for masks and for key-points."""
    for kind, theirs in KINDS.items():
        suite = f"pycocotools COCOeval {theirs}"
        for seed in range(SETS):
            yield Case(suite, version("pycocotools"), f"set {seed}", Coco, partial(_compare, kind, seed), TOLERANCE)


def _compare(kind: str, seed: int) -> float:
    """Return the largest difference of all figures; those without truths must be missing in both."""
    drawn = draw(kind, seed)
    ours = torch.tensor(list(figures(kind, drawn).values()), dtype=torch.float64)
    return gap("figures", ours.nan_to_num(nan=-1.0), torch.from_numpy(expected(kind, drawn)))


def figures(kind: str, drawn: Drawn) -> dict[str, float]:
    """Return our figures."""
    evaluation = Coco(kind)
    for found, truth, areas in zip(drawn.detections, drawn.objects, drawn.areas, strict=True):
        evaluation.add(found, truth, areas)
    return evaluation.figures()


def expected(kind: str, drawn: Drawn) -> np.ndarray:
    """Return pycocotools' figures: -1 where no object is to be found."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth: Any = COCO()
    results: Any = COCO()
    images = [{"id": index, "height": IMAGE, "width": IMAGE} for index in range(len(drawn.objects))]
    labels = {int(label) for part in (*drawn.objects, *drawn.detections) for label in part.labels}
    categories = [{"id": label} for label in sorted(labels)]
    truth.dataset = {"images": images, "categories": categories, "annotations": _true(kind, drawn)}
    found = _found(kind, drawn)
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        if found:
            results = truth.loadRes(found)
        else:  # which loadRes refuses
            results.dataset = {"images": images, "categories": categories, "annotations": []}
            results.createIndex()
        evaluation: Any = cast(Any, COCOeval)(truth, results, KINDS[kind])
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.asarray(evaluation.stats)


def _true(kind: str, drawn: Drawn) -> list[dict[str, Any]]:
    """Return the objects as COCO annotations, numbered from 1: pycocotools takes the number 0 for unmatched."""
    entries: list[dict[str, Any]] = []
    for image, (truth, areas) in enumerate(zip(drawn.objects, drawn.areas, strict=True)):
        for k in range(len(truth)):
            assert truth.crowd is not None
            entry = _entry(kind, image, truth, k)
            entry |= {"id": len(entries) + 1, "area": float(areas[k]), "iscrowd": int(truth.crowd[k])}
            entry["bbox"] = _xywh(truth.boxes[k])
            if truth.keypoints is not None:
                entry["num_keypoints"] = int((truth.keypoints[k, :, 2] > 0).sum())
            entries.append(entry)
    return entries


def _found(kind: str, drawn: Drawn) -> list[dict[str, Any]]:
    return [
        {**_entry(kind, image, found, k), "score": float(found.scores[k])}
        for image, found in enumerate(drawn.detections)
        for k in range(len(found))
    ]


def _entry(kind: str, image: int, part: Objects | Detections, k: int) -> dict[str, Any]:
    """Return what detections and objects share: with one of box, mask and points, as in files of results."""
    from pycocotools import mask

    entry: dict[str, Any] = {"image_id": image, "category_id": int(part.labels[k])}
    if kind == "boxes":
        entry["bbox"] = _xywh(part.boxes[k])
    elif kind == "masks":
        assert part.masks is not None
        entry["segmentation"] = mask.encode(np.asfortranarray(part.masks[k].numpy().astype(np.uint8)))
    else:
        assert part.keypoints is not None
        entry["keypoints"] = part.keypoints[k].flatten().tolist()
    return entry


def _xywh(box: torch.Tensor) -> list[float]:
    x0, y0, x1, y1 = box.tolist()
    return [x0, y0, x1 - x0, y1 - y0]


def draw(kind: str, seed: int) -> Drawn:
    """Return a set in which much is drawn: sizes, crowds, equal scores, empty images, too many detections.

    Coordinates are multiples of 1/4, so that equal overlaps are equal in every program. In every third set the boxes
    are of one size on a grid: many overlaps and areas are at a threshold, and many overlaps are equal.
    """
    rng = Draws(seed)
    classes, images = int(rng.integers(1, 5)), int(rng.integers(1, 7))
    most, crowds = int(rng.integers(1, 9)), rng.choice([0.0, 0.2, 0.6])
    objects, areas, detections = [], [], []
    for _ in range(images):
        truth = _objects(kind, rng, int(rng.integers(0, most + 1)), classes, crowds)
        boxes = (truth.boxes[:, 2:] - truth.boxes[:, :2]).prod(1)
        objects.append(truth)
        areas.append(boxes * torch.from_numpy(rng.choice([1.0, 0.7, 0.1], len(truth))) if seed % 2 else boxes)
        detections.append(_detections(kind, rng, truth, classes))
    return Drawn(objects, areas, detections)


def _objects(kind: str, rng: Draws, n: int, classes: int, crowds: float) -> Objects:
    boxes = _boxes(rng, n)
    labels = torch.from_numpy(rng.integers(1, classes + 1, n))
    points = _points(rng, boxes) if kind == "keypoints" else None
    if points is not None:
        hidden = torch.from_numpy(rng.random((n, POINTS)) < rng.random((n, 1)) * 0.7)
        hidden[torch.from_numpy(rng.random(n) < 0.15)] = True  # without a labelled point
        points[hidden] = 0.0
    crowd = torch.from_numpy(rng.random(n) < crowds)
    return Objects(boxes, labels, _masks(rng, boxes) if kind == "masks" else None, points, crowd)


def _detections(kind: str, rng: Draws, truth: Objects, classes: int) -> Detections:
    """Return copies of the truth, shifted by little or not at all, and boxes anywhere."""
    many = 300 if rng.random() < 0.1 else 4  # more than 100, or than 20 of key-points, do not count
    copies = torch.from_numpy(rng.integers(0, max(len(truth), 1), int(rng.integers(0, many * (len(truth) > 0) + 1))))
    if rng.grid:
        boxes = truth.boxes[copies] + GRID * torch.from_numpy(rng.integers(-1, 2, (len(copies), 2))).repeat(1, 2)
    else:
        shift = np.round(rng.normal(0, rng.choice([0, 1, 4, 10]), (len(copies), 4)) * 4) / 4
        boxes = (truth.boxes[copies] + torch.from_numpy(shift)).clamp(0, IMAGE)
        boxes = torch.cat([boxes[:, :2].minimum(boxes[:, 2:]), boxes[:, :2].maximum(boxes[:, 2:])], 1)
    others = int(rng.integers(0, 6))
    boxes = torch.cat([boxes, _boxes(rng, others)])
    labels = torch.cat([truth.labels[copies], torch.from_numpy(rng.integers(1, classes + 1, others))])
    wrong = torch.from_numpy(rng.random(len(labels)) < 0.15)
    labels = torch.where(wrong, torch.from_numpy(rng.integers(1, classes + 1, len(labels))), labels)
    scores = torch.from_numpy(rng.integers(0, int(rng.choice([4, 1000])), len(labels)) / 1000)
    points = None
    if kind == "keypoints":
        points = _points(rng, boxes)
        assert truth.keypoints is not None
        jitter = torch.from_numpy(rng.normal(0, rng.choice([0.0, 0.3, 3.0]), (len(copies), POINTS, 2)))
        points[: len(copies), :, :2] = truth.keypoints[copies][:, :, :2] + jitter
    return Detections(boxes, scores, labels, _masks(rng, boxes) if kind == "masks" else None, points)


def _boxes(rng: Draws, n: int) -> torch.Tensor:
    """Return boxes of 0 to 130 pixels, one in twenty without width; on the grid, boxes of 32 pixels close together."""
    if rng.grid:
        corners = GRID * rng.integers(1, 5, (n, 2))
        return torch.from_numpy(np.concatenate([corners, corners + 32], 1).astype(float))
    sides = np.round(2 ** rng.uniform(2, 7, (n, 2)) * 4) / 4
    sides[rng.random(n) < 0.05, 0] = 0.0
    corners = np.round(rng.uniform(0, 1, (n, 2)) * (IMAGE - sides) * 4) / 4
    return torch.from_numpy(np.concatenate([corners, corners + sides], 1))


def _masks(rng: Draws, boxes: torch.Tensor) -> torch.Tensor:
    """Return ellipses in the boxes, with holes in some."""
    centres = torch.arange(IMAGE) + 0.5
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).clamp_min(1e-3) / 2
    x, y = ((centres - middle[:, k : k + 1]) / half[:, k : k + 1] for k in (0, 1))  # (n, IMAGE)
    far = x[:, None].square() + y[:, :, None].square()
    holes = torch.from_numpy(rng.choice([0.0, 0.3], len(boxes)))[:, None, None]
    return (far <= 1) & (far >= holes)


def _points(rng: Draws, boxes: torch.Tensor) -> torch.Tensor:
    """Return points anywhere in each box; on the grid, at the same places of each."""
    places = torch.from_numpy(rng.random((1 if rng.grid else len(boxes), POINTS, 2)))
    at = boxes[:, None, :2] + places * (boxes[:, 2:] - boxes[:, :2])[:, None]
    return torch.cat([at, torch.full((len(boxes), POINTS, 1), 2.0, dtype=torch.float64)], 2)
