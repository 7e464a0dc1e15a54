"""Analysis of detection errors: by kind of error, by class, and by size and crowding of the objects."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.image_objects import Detections, Objects
from pellucid.metrics.coco import SIZES, precision_at_recalls
from pellucid.metrics.overlaps import truth_areas
from pellucid.metrics.verdicts import (
    BACKGROUND,
    ERRORS,
    HIT,
    IGNORED,
    MISSED,
    THRESHOLD,
    MatchedImage,
    classify_detections,
    crowds,
)
from pellucid.ops.boxes import coverage

# Ranges [low, high) of the largest fraction of an object's box that is inside another object's box.
CROWDING = {"apart": (0.0, 0.1), "touching": (0.1, 0.3), "crowded": (0.3, 2.0)}


class Gain(NamedTuple):
    """One kind of error: how often it occurs, and by how much AP would rise if all of it were repaired."""

    errors: int
    gain: float


def error_split(
    detections: Sequence[Detections],
    objects: Sequence[Objects],
    threshold: float = THRESHOLD,
    background: float = BACKGROUND,
    kind: str = "boxes",
) -> tuple[float, dict[str, Gain]]:
    """Return AP at the threshold, and for each of ERRORS and "missed" its count and the gain in AP from repairing it.

    One kind of error is repaired at a time. "class" and "place": for each object that was not found, the detection
    with the highest score becomes a hit, and the others are removed. "both", "duplicate" and "background": the
    detections are removed. "missed": the objects are not counted. Gains are at least 0, and do not add up.
    Source: Bolya et al. 2020, section 2.3.
    """
    images = [
        classify_detections(found, truth, threshold, background, kind)
        for found, truth in zip(detections, objects, strict=True)
    ]
    base = _precision(images, detections, objects, "")
    results: dict[str, Gain] = {}
    for error in (*ERRORS, MISSED):
        if error == MISSED:
            count = sum(len(image.missed(truth)) for image, truth in zip(images, objects, strict=True))
        else:
            count = sum(verdict.kind == error for image in images for verdict in image.verdicts)
        gain = _precision(images, detections, objects, error) - base if count else 0.0
        results[error] = Gain(count, max(gain, 0.0))
    return base, results


def _precision(
    images: Sequence[MatchedImage], detections: Sequence[Detections], objects: Sequence[Objects], repaired: str
) -> float:
    """Return the mean AP over the classes, with the kind of error `repaired` removed, "" for none."""
    scored: dict[int, list[tuple[float, bool]]] = {}
    truths: dict[int, int] = {}
    for image, found, truth in zip(images, detections, objects, strict=True):
        left_out = set(image.missed(truth)) if repaired == MISSED else set[int]()
        crowd = crowds(truth).tolist()
        for k, label in enumerate(truth.labels.tolist()):
            if k not in left_out and not crowd[k]:
                truths[label] = truths.get(label, 0) + 1
        for index, (verdict, score, label) in enumerate(
            zip(image.verdicts, found.scores.tolist(), found.labels.tolist(), strict=True)
        ):
            if verdict.kind == repaired:
                if verdict.object_index >= 0 and image.repairs[verdict.object_index] == index:
                    scored.setdefault(int(truth.labels[verdict.object_index]), []).append((score, True))
            elif verdict.kind != IGNORED:
                scored.setdefault(label, []).append((score, verdict.kind == HIT))
    values = [_area(scored.get(label, []), count) for label, count in truths.items()]
    return sum(values) / len(values) if values else 0.0


def _area(scored: list[tuple[float, bool]], truths: int) -> float:
    """Return the mean precision at COCO's 101 recalls."""
    hits = torch.tensor([hit for _, hit in sorted(scored, key=lambda pair: pair[0], reverse=True)], dtype=torch.float64)
    precision, _ = precision_at_recalls(hits.cumsum(0)[None], (1 - hits).cumsum(0)[None], truths)
    return float(precision.mean())


def confusion(
    detections: Sequence[Detections],
    objects: Sequence[Objects],
    classes: int,
    score: float = 0.5,
    threshold: float = THRESHOLD,
) -> Tensor:
    """Return counts[true, detected] with the background as the last class: (classes + 1, classes + 1).

    Only detections with a score of at least `score` are used. Objects are matched with hits first; then each other
    detection, best first, is matched with the unmatched object of the largest IoU, of at least `threshold`. The
    remaining objects are counted in the last column, the remaining detections in the last row. Crowds are not counted.
    """
    counts = torch.zeros(classes + 1, classes + 1, dtype=torch.int64)
    for all_found, truth in zip(detections, objects, strict=True):
        found = all_found.take(all_found.scores >= score)
        found = found.take(found.scores.argsort(descending=True, stable=True))
        image = classify_detections(found, truth, threshold, min(BACKGROUND, threshold / 2))
        free = torch.tensor(image.finders, dtype=torch.long) < 0
        free &= ~crowds(truth)
        for index, verdict in enumerate(image.verdicts):
            label = int(found.labels[index])
            if verdict.kind == HIT:
                counts[label, label] += 1
            elif verdict.kind != IGNORED:
                best = torch.where(free, image.overlaps[index], -1.0).max(0) if len(truth) else None
                if best is not None and best.values >= threshold:
                    free[best.indices] = False
                    counts[truth.labels[best.indices], label] += 1
                else:
                    counts[classes, label] += 1
        counts[:, classes] += torch.bincount(truth.labels[free], minlength=classes + 1)
    return counts


class FoundShare(NamedTuple):
    """The objects of a group, and how many of them were found."""

    objects: int
    found: int


def recall_by_group(
    detections: Sequence[Detections], objects: Sequence[Objects], score: float = 0.5, threshold: float = THRESHOLD
) -> dict[str, dict[str, FoundShare]]:
    """Return the objects found by detections of at least `score`, by "size" (as COCO's) and by "crowding".

    Crowding is the largest fraction of an object's box inside another object's box. Crowds are not counted.
    """
    sizes = {name: FoundShare(0, 0) for name in list(SIZES)[1:]}
    crowding = {name: FoundShare(0, 0) for name in CROWDING}
    for all_found, truth in zip(detections, objects, strict=True):
        image = classify_detections(
            all_found.take(all_found.scores >= score), truth, threshold, min(BACKGROUND, threshold / 2)
        )
        crowd, areas = crowds(truth).tolist(), truth_areas(truth).tolist()
        inside = coverage(truth.boxes, truth.boxes).fill_diagonal_(0.0)
        fractions = inside.amax(1).tolist() if len(truth) else []
        for k, finder in enumerate(image.finders):
            if crowd[k]:
                continue
            for groups, limits, value in ((sizes, SIZES, areas[k]), (crowding, CROWDING, fractions[k])):
                name = next(name for name in groups if limits[name][0] <= value < limits[name][1])
                groups[name] = FoundShare(groups[name].objects + 1, groups[name].found + (finder >= 0))
    return {"size": sizes, "crowding": crowding}
