"""Analysis of detection errors: by kind of error, by class, and by size and crowding of the objects."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.metrics.coco import AREA_RANGES, precision_at_recalls
from pellucid.metrics.overlaps import truth_areas
from pellucid.metrics.verdicts import (
    ERRORS,
    HIT,
    IGNORED,
    MAX_BACKGROUND_IOU,
    MIN_HIT_IOU,
    MISSED,
    MatchedImage,
    classify_detections,
    crowd_mask,
)
from pellucid.ops.boxes import coverage
from pellucid.ops.image_objects import Detections, Objects

# Ranges [low, high) of the largest fraction of an object's box that is inside another object's box.
CROWDING = {"apart": (0.0, 0.1), "touching": (0.1, 0.3), "crowded": (0.3, 2.0)}


class ErrorGain(NamedTuple):
    """One kind of error: how often it occurs, and by how much AP rises if all errors of this kind are repaired."""

    errors: int
    gain: float


def error_split(
    detections: Sequence[Detections],
    objects: Sequence[Objects],
    threshold: float = MIN_HIT_IOU,
    background: float = MAX_BACKGROUND_IOU,
    kind: str = "boxes",
) -> tuple[float, dict[str, ErrorGain]]:
    """Return AP at the threshold, and the number and the gain in AP of each kind of error, ERRORS and "missed".

    threshold, background, kind: see `classify_detections`. One kind of error is repaired at a time. "class" and
    "place": for each object that was not found, the erroneous detection with the highest score becomes a hit, and the
    others are removed. "both", "duplicate" and "background": the detections are removed. "missed": the objects are not
    counted. Gains are at least 0; their sum is not the gain from repairing all kinds.
    Source: Bolya et al. 2020, section 2.3.
    """
    images = [
        classify_detections(image_detections, truth, threshold, background, kind)
        for image_detections, truth in zip(detections, objects, strict=True)
    ]
    base_ap = _mean_ap(images, detections, objects, "")
    results: dict[str, ErrorGain] = {}
    for error in (*ERRORS, MISSED):
        if error == MISSED:
            count = sum(len(image.missed(truth)) for image, truth in zip(images, objects, strict=True))
        else:
            count = sum(verdict.kind == error for image in images for verdict in image.verdicts)
        gain = _mean_ap(images, detections, objects, error) - base_ap if count else 0.0
        results[error] = ErrorGain(count, max(gain, 0.0))
    return base_ap, results


def _mean_ap(
    images: Sequence[MatchedImage], detections: Sequence[Detections], objects: Sequence[Objects], repaired_error: str
) -> float:
    """Return the mean AP over the classes after repairing the kind of error `repaired_error`, "" for none."""
    scored_hits: dict[int, list[tuple[float, bool]]] = {}
    truths: dict[int, int] = {}
    for image, image_detections, truth in zip(images, detections, objects, strict=True):
        missed_objects = set(image.missed(truth)) if repaired_error == MISSED else set[int]()
        is_crowd = crowd_mask(truth).tolist()
        for k, label in enumerate(truth.labels.tolist()):
            if k not in missed_objects and not is_crowd[k]:
                truths[label] = truths.get(label, 0) + 1
        for index, (verdict, score, label) in enumerate(
            zip(image.verdicts, image_detections.scores.tolist(), image_detections.labels.tolist(), strict=True)
        ):
            if verdict.kind == repaired_error:
                if verdict.object_index >= 0 and image.repairs[verdict.object_index] == index:
                    scored_hits.setdefault(int(truth.labels[verdict.object_index]), []).append((score, True))
            elif verdict.kind != IGNORED:
                scored_hits.setdefault(label, []).append((score, verdict.kind == HIT))
    values = [_class_ap(scored_hits.get(label, []), count) for label, count in truths.items()]
    return sum(values) / len(values) if values else 0.0


def _class_ap(scored_hits: list[tuple[float, bool]], truths: int) -> float:
    """Return the mean precision at COCO's 101 recalls; scored_hits: (score, whether it is a hit) of each detection."""
    hits = torch.tensor(
        [hit for _, hit in sorted(scored_hits, key=lambda pair: pair[0], reverse=True)], dtype=torch.float64
    )
    precision, _ = precision_at_recalls(hits.cumsum(0)[None], (1 - hits).cumsum(0)[None], truths)
    return float(precision.mean())


def confusion(
    detections: Sequence[Detections],
    objects: Sequence[Objects],
    classes: int,
    score: float = 0.5,
    threshold: float = MIN_HIT_IOU,
) -> Tensor:
    """Return counts[true, detected] with the background as the last class: (classes + 1, classes + 1).

    Only detections with a score of at least `score` are used. Objects are matched with hits first. Then each other
    detection, best first, is matched with the unmatched object with the largest IoU, if it is at least `threshold`. The
    remaining objects are counted in the last column, the remaining detections in the last row. Crowds are not counted.
    """
    counts = torch.zeros(classes + 1, classes + 1, dtype=torch.int64)
    for all_detections, truth in zip(detections, objects, strict=True):
        ranked_detections = all_detections.take(all_detections.scores >= score)
        ranked_detections = ranked_detections.take(ranked_detections.scores.argsort(descending=True, stable=True))
        image = classify_detections(ranked_detections, truth, threshold, min(MAX_BACKGROUND_IOU, threshold / 2))
        is_free = torch.tensor(image.object_matches, dtype=torch.long) < 0
        is_free &= ~crowd_mask(truth)
        for index, verdict in enumerate(image.verdicts):
            label = int(ranked_detections.labels[index])
            if verdict.kind == HIT:
                counts[label, label] += 1
            elif verdict.kind != IGNORED:
                best_object = torch.where(is_free, image.overlaps[index], -1.0).max(0) if len(truth) else None
                if best_object is not None and best_object.values >= threshold:
                    is_free[best_object.indices] = False
                    counts[truth.labels[best_object.indices], label] += 1
                else:
                    counts[classes, label] += 1
        counts[:, classes] += torch.bincount(truth.labels[is_free], minlength=classes + 1)
    return counts


class RecallCounts(NamedTuple):
    """The number of objects in a group, and how many of them were found."""

    objects: int
    found: int


def recall_by_group(
    detections: Sequence[Detections], objects: Sequence[Objects], score: float = 0.5, threshold: float = MIN_HIT_IOU
) -> dict[str, dict[str, RecallCounts]]:
    """Return the counts of objects and of found objects by "size" (COCO's AREA_RANGES) and by "crowding" (CROWDING).

    Only detections with a score of at least `score` are used. Crowding is the largest fraction of an object's box that
    is inside another object's box. Crowds are not counted.
    """
    sizes = {name: RecallCounts(0, 0) for name in list(AREA_RANGES)[1:]}
    crowding = {name: RecallCounts(0, 0) for name in CROWDING}
    for all_detections, truth in zip(detections, objects, strict=True):
        image = classify_detections(
            all_detections.take(all_detections.scores >= score),
            truth,
            threshold,
            min(MAX_BACKGROUND_IOU, threshold / 2),
        )
        is_crowd, areas = crowd_mask(truth).tolist(), truth_areas(truth).tolist()
        inside_fraction = coverage(truth.boxes, truth.boxes).fill_diagonal_(0.0)
        fractions = inside_fraction.amax(1).tolist() if len(truth) else []
        for k, detection_index in enumerate(image.object_matches):
            if is_crowd[k]:
                continue
            for counts, ranges, value in ((sizes, AREA_RANGES, areas[k]), (crowding, CROWDING, fractions[k])):
                name = next(name for name in counts if ranges[name][0] <= value < ranges[name][1])
                counts[name] = RecallCounts(counts[name].objects + 1, counts[name].found + (detection_index >= 0))
    return {"size": sizes, "crowding": crowding}
