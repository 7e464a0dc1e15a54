"""Analysis of detection errors: by kind of error, by class, and by size and crowding of the objects.

Each detection is a hit or has a kind of error, and each object is found or missed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.metrics.coco import AREA_RANGES, match_to_truths, precision_at_recalls
from pellucid.metrics.overlaps import OVERLAP_KINDS, PERSON_SIGMAS, truth_areas
from pellucid.ops.boxes import coverage
from pellucid.ops.image_objects import Detections, Objects

HIT = "hit"
IGNORED = "ignored"
ERRORS = ("class", "place", "both", "duplicate", "background")  # kinds of errors of detections
MISSED = "missed"  # the kind of error of objects
MIN_HIT_IOU = 0.5  # a detection with this IoU or more can be a hit
MAX_BACKGROUND_IOU = 0.1  # a detection without an IoU above this is background


class DetectionVerdict(NamedTuple):
    """The verdict on one detection."""

    kind: str  # "hit", "ignored" (matched with a crowd), or one of ERRORS
    # the index of the object that the verdict is about, for "background" the object with the largest IoU; -1 if all
    # objects are crowds or there are none
    object_index: int
    iou: float  # the IoU with this object


class MatchedImage(NamedTuple):
    """The detections and objects of one image, compared at one IoU threshold."""

    verdicts: list[DetectionVerdict]  # one per detection
    object_matches: list[int]  # (m,), the index of the detection that is a hit of the object, -1 for none
    # (m,), for an object that was not found, the index of the detection with the highest score among the "class" and
    # "place" errors about this object; if it were repaired, it would find the object; -1 for none
    repairs: list[int]
    overlaps: Tensor  # (n, m), the overlaps of detections with objects

    def missed(self, truth: Objects) -> list[int]:
        """Return the indices of objects that were not found and have no "class" or "place" error, except crowds."""
        return [k for k in self.not_found(truth) if self.repairs[k] < 0]

    def not_found(self, truth: Objects) -> list[int]:
        """Return the indices of objects that no detection found, except crowds."""
        is_crowd = crowd_mask(truth).tolist()
        return [k for k, detection_index in enumerate(self.object_matches) if detection_index < 0 and not is_crowd[k]]


def classify_detections(
    detections: Detections,
    truth: Objects,
    threshold: float = MIN_HIT_IOU,
    background: float = MAX_BACKGROUND_IOU,
    kind: str = "boxes",
    sigmas: tuple[float, ...] = PERSON_SIGMAS,
) -> MatchedImage:
    """Return the kind of each detection in an image, and the detection that found each object.

    threshold: the IoU of a hit. background: the largest IoU of a "background" error. kind, sigmas: see `Coco`. Hits are
    matched as by `Coco`, at one threshold. Every other detection has the first kind that applies:
    "ignored": matched with a crowd of its class. "place": its largest IoU with an object of its class is from
    `background` to below `threshold`. "class": its largest IoU with an object of another class is at least `threshold`.
    "duplicate": an object of its class has an IoU of at least `threshold`, but was matched with a detection of a higher
    score. "background": no IoU is above `background`. "both": all other detections; class and place are wrong.
    Raises PellucidError unless 0 < background < threshold <= 1. Source: Bolya et al. 2020, "TIDE: A General Toolbox for
    Identifying Object Detection Errors", section 2.2.
    """
    if not 0 < background < threshold <= 1:
        raise PellucidError(
            f"classify_detections: thresholds are {background} and {threshold}; give 0 < background < threshold <= 1"
        )
    overlaps = OVERLAP_KINDS[kind].overlaps(detections, truth, truth_areas(truth), sigmas)  # (n, m)
    is_crowd = crowd_mask(truth)
    matched_objects = torch.full((len(detections),), -1)
    thresholds = torch.tensor([threshold], dtype=torch.float64)
    for label in detections.labels.unique():
        same_class = (detections.labels == label).nonzero().flatten()
        same_class = same_class[detections.scores[same_class].argsort(descending=True, stable=True)]
        candidates = (truth.labels == label).nonzero().flatten()
        if len(candidates):
            ignored = is_crowd[candidates]
            matches = match_to_truths(overlaps[same_class][:, candidates], thresholds, ignored[None], ignored)
            best_candidates = matches[0, 0]  # of the only size and the only threshold
            matched_objects[same_class] = torch.where(best_candidates < 0, -1, candidates[best_candidates])
    verdicts = [
        _verdict(matched_object, truth.labels == label, overlaps[index], is_crowd, threshold, background)
        for index, (matched_object, label) in enumerate(zip(matched_objects.tolist(), detections.labels, strict=True))
    ]
    object_matches, repairs = [-1] * len(truth), [-1] * len(truth)
    for index, verdict in enumerate(verdicts):
        if verdict.kind == HIT:
            object_matches[verdict.object_index] = index
    for index in detections.scores.argsort(descending=True, stable=True).tolist():
        error, object_index, _ = verdicts[index]
        if error in ("class", "place") and object_matches[object_index] < 0 and repairs[object_index] < 0:
            repairs[object_index] = index
    return MatchedImage(verdicts, object_matches, repairs, overlaps)


def _verdict(
    matched_object: int, is_same_class: Tensor, overlaps: Tensor, is_crowd: Tensor, threshold: float, background: float
) -> DetectionVerdict:
    """Return the verdict on one detection.

    matched_object: the index of the object that it was matched with, or -1. is_same_class: whether each object is of
    the detection's class, (m,). overlaps: the IoU with each object, (m,).
    """
    if matched_object >= 0:
        return DetectionVerdict(
            IGNORED if bool(is_crowd[matched_object]) else HIT, matched_object, float(overlaps[matched_object])
        )
    if bool(is_crowd.all()):  # also if there are no objects
        return DetectionVerdict("background", -1, 0.0)
    best_same_class, best_other_class = (
        torch.where(mask & ~is_crowd, overlaps, -1.0).max(0) for mask in (is_same_class, ~is_same_class)
    )
    best_overlap = best_same_class if best_same_class.values >= best_other_class.values else best_other_class
    if background <= best_same_class.values < threshold:
        kind = "place"
        best_overlap = best_same_class
    elif best_other_class.values >= threshold:
        kind = "class"
        best_overlap = best_other_class
    elif best_same_class.values >= threshold:
        kind = "duplicate"
        best_overlap = best_same_class
    else:
        kind = "both" if best_overlap.values > background else "background"
    return DetectionVerdict(kind, int(best_overlap.indices), float(best_overlap.values))


def crowd_mask(truth: Objects) -> Tensor:
    """Return a mask of the objects that are crowds: (m,) bool."""
    return torch.zeros(len(truth), dtype=torch.bool) if truth.crowd is None else truth.crowd


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
    values = [_class_ap(scored_hits.get(label, []), n_truths) for label, n_truths in truths.items()]
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
