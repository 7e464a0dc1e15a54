"""Classification of each detection as a hit or a kind of error, and of the objects that were missed."""

from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.metrics.coco import match_to_truths
from pellucid.metrics.overlaps import OVERLAP_KINDS, PERSON_SIGMAS, truth_areas
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
            best_candidates = match_to_truths(overlaps[same_class][:, candidates], thresholds, ignored[None], ignored)[
                0, 0
            ]
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
