"""Classification of each detection as a hit or a kind of error, and of the objects that were missed."""

from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.image_objects import Detections, Objects
from pellucid.metrics.coco import match
from pellucid.metrics.overlaps import KINDS, PERSON, truth_areas

HIT, IGNORED = "hit", "ignored"
ERRORS = ("class", "place", "both", "duplicate", "background")  # of detections; "missed" is the error of objects
MISSED = "missed"
THRESHOLD, BACKGROUND = 0.5, 0.1  # IoU from which a detection is correct, and IoU up to which it is background


class DetectionVerdict(NamedTuple):
    """The kind of one detection: "hit", "ignored" (matched with a crowd), or one of ERRORS.

    object_index: the index of the object concerned, for "background" the one with the largest IoU; -1 without objects.
    iou: the IoU with this object.
    """

    kind: str
    object_index: int
    iou: float


class MatchedImage(NamedTuple):
    """The detections and objects of one image, compared at one IoU threshold.

    verdicts: one per detection. finders: (m,), the detection that each object was matched with, -1 for none.
    repairs: (m,), for objects that were not found, the "class" or "place" error with the highest score that concerns
    the object, and would find it if repaired; -1 for none. overlaps: (n, m).
    """

    verdicts: list[DetectionVerdict]
    finders: list[int]
    repairs: list[int]
    overlaps: Tensor

    def missed(self, truth: Objects) -> list[int]:
        """Return the indices of objects that no detection found and that no "class" or "place" error concerns."""
        return [k for k in self.not_found(truth) if self.repairs[k] < 0]

    def not_found(self, truth: Objects) -> list[int]:
        """Return the indices of objects that no detection found, except crowds."""
        crowd = crowds(truth).tolist()
        return [k for k, finder in enumerate(self.finders) if finder < 0 and not crowd[k]]


def classify_detections(
    found: Detections,
    truth: Objects,
    threshold: float = THRESHOLD,
    background: float = BACKGROUND,
    kind: str = "boxes",
    sigmas: tuple[float, ...] = PERSON,
) -> MatchedImage:
    """Return the kind of each detection in an image, and the detection that found each object.

    Hits are matched as by `Coco`, at one threshold. Every other detection has the first kind that applies:
    "ignored": matched with a crowd of its class. "place": its largest IoU with an object of its class is from
    `background` to below `threshold`. "class": its largest IoU with an object of another class is at least `threshold`.
    "duplicate": an object of its class has an IoU of at least `threshold`, but was matched with a detection of a higher
    score. "background": no IoU is above `background`. "both": all others, whose class and place are wrong. Source:
    Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors", section 2.2.
    """
    if not 0 < background < threshold <= 1:
        raise PellucidError(f"judge: thresholds are {background} and {threshold}; give 0 < background < threshold <= 1")
    overlaps = KINDS[kind].overlaps(found, truth, truth_areas(truth), sigmas)  # (n, m)
    crowd = crowds(truth)
    matched, level = torch.full((len(found),), -1), torch.tensor([threshold], dtype=torch.float64)
    for label in found.labels.unique():
        same_class = (found.labels == label).nonzero().flatten()
        same_class = same_class[found.scores[same_class].argsort(descending=True, stable=True)]
        candidates = (truth.labels == label).nonzero().flatten()
        if len(candidates):
            ignored = crowd[candidates]
            best = match(overlaps[same_class][:, candidates], level, ignored[None], ignored)[0, 0]
            matched[same_class] = torch.where(best < 0, -1, candidates[best])
    verdicts = [
        _verdict(best, truth.labels == label, overlaps[index], crowd, threshold, background)
        for index, (best, label) in enumerate(zip(matched.tolist(), found.labels, strict=True))
    ]
    finders, repairs = [-1] * len(truth), [-1] * len(truth)
    for index, verdict in enumerate(verdicts):
        if verdict.kind == HIT:
            finders[verdict.object_index] = index
    for index in found.scores.argsort(descending=True, stable=True).tolist():
        error, concerned, _ = verdicts[index]
        if error in ("class", "place") and finders[concerned] < 0 and repairs[concerned] < 0:
            repairs[concerned] = index
    return MatchedImage(verdicts, finders, repairs, overlaps)


def _verdict(
    matched: int, same: Tensor, overlaps: Tensor, crowd: Tensor, threshold: float, background: float
) -> DetectionVerdict:
    """Return the verdict of one detection; same: whether each object is of its class, overlaps: with each, (m,)."""
    if matched >= 0:
        return DetectionVerdict(IGNORED if bool(crowd[matched]) else HIT, matched, float(overlaps[matched]))
    if bool(crowd.all()):  # also without any object
        return DetectionVerdict("background", -1, 0.0)
    same_best, other_best = (torch.where(which & ~crowd, overlaps, -1.0).max(0) for which in (same, ~same))
    best = same_best if same_best.values >= other_best.values else other_best
    if background <= same_best.values < threshold:
        kind, best = "place", same_best
    elif other_best.values >= threshold:
        kind, best = "class", other_best
    elif same_best.values >= threshold:
        kind, best = "duplicate", same_best
    else:
        kind = "both" if best.values > background else "background"
    return DetectionVerdict(kind, int(best.indices), float(best.values))


def crowds(truth: Objects) -> Tensor:
    """Return a mask of the objects that are crowds: (m,) bool."""
    return torch.zeros(len(truth), dtype=torch.bool) if truth.crowd is None else truth.crowd
