"""Findings on an image: a sentence with score and IoU for each detection and each missed object."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pellucid.metrics.error_split import (
    HIT,
    IGNORED,
    MAX_BACKGROUND_IOU,
    MIN_HIT_IOU,
    MISSED,
    MatchedImage,
    classify_detections,
)
from pellucid.ops.image_objects import Detections, Objects


class DetectionFinding(NamedTuple):
    """A detection or a missed object of an image, with a sentence that gives the reason for its kind.

    kind: "hit", "ignored", "missed", or one of `pellucid.metrics.error_split.ERRORS`. detection, object_index: indices
    in `Detections` and `Objects`, -1 for none. iou: of the detection and the object. text: the sentence, in which
    detections and objects are numbered from 1.
    """

    kind: str
    detection: int
    object_index: int
    iou: float
    text: str


def findings(
    detections: Detections,
    objects: Objects,
    classes: Sequence[str],
    score: float = 0.5,
    threshold: float = MIN_HIT_IOU,
    background: float = MAX_BACKGROUND_IOU,
    kind: str = "boxes",
) -> list[DetectionFinding]:
    """Return the findings for each detection of at least `score`, by descending score, and then for each missed object.

    threshold, background: the IoU of a hit, and the IoU below which a detection lies on the background; see
    `pellucid.metrics.error_split.classify_detections`. kind: whether the IoU of "boxes" or of "masks" is computed.
    Detections below `score` are left out, but may explain a miss. Reasons from the detector (anchor, suppression) can
    be added: `finding._replace(text=...)`.
    """
    order = detections.scores.argsort(descending=True, stable=True)
    scored_indices = order[detections.scores[order] >= score]
    limits = {"threshold": threshold, "background": background, "kind": kind}
    matching, all_matching = (
        classify_detections(detections.take(scored_indices), objects, **limits),
        classify_detections(detections, objects, **limits),
    )
    sentences = _Sentences(
        detections=detections,
        objects=objects,
        classes=classes,
        score=score,
        threshold=threshold,
        background=background,
        scored_indices=scored_indices.tolist(),
        matching=matching,
        all_matching=all_matching,
    )
    detection_findings = [sentences.of_detection(rank) for rank in range(len(scored_indices))]
    return detection_findings + [sentences.of_miss(truth_index) for truth_index in matching.not_found(objects)]


@dataclass(frozen=True)
class _Sentences:
    """The sentences about an image.

    matching: the verdicts on the detections with a score of at least `score`. scored_indices: the indices of these
    detections in `detections`, by descending score. all_matching: the verdicts on all detections.
    """

    detections: Detections
    objects: Objects
    classes: Sequence[str]
    score: float
    threshold: float
    background: float
    scored_indices: list[int]
    matching: MatchedImage
    all_matching: MatchedImage

    def of_detection(self, rank: int) -> DetectionFinding:
        kind, truth_index, iou = self.matching.verdicts[rank]
        reason = (
            "is a false alarm: the image has no object to find"
            if truth_index < 0
            else self._reasons_by_kind(truth_index, iou)[kind]
        )
        if kind == "duplicate":
            finder_rank = self.matching.object_matches[truth_index]
            score, first_iou = (
                float(self.detections.scores[self.scored_indices[finder_rank]]),
                float(self.matching.overlaps[finder_rank, truth_index]),
            )
            reason += f", but detection {finder_rank + 1} found it with score {score:.2f} and IoU {first_iou:.2f}"
        return DetectionFinding(
            kind, self.scored_indices[rank], truth_index, iou, f"{self._detection_text(rank)} {reason}."
        )

    def _reasons_by_kind(self, truth_index: int, iou: float) -> dict[str, str]:
        object_text = self._object_text(truth_index)
        overlap_text = f"IoU {iou:.2f} with {object_text}"
        return {
            HIT: f"is right: {overlap_text}",
            IGNORED: f"does not count: it matches {object_text}, which is labelled as a crowd or as difficult",
            "duplicate": f"is a duplicate: {overlap_text}",
            "class": f"has the wrong class: {overlap_text}",
            "place": f"is placed imprecisely: IoU {format_below(iou, self.threshold)} with {object_text}, below "
            f"{self.threshold:g}",
            "both": "has the wrong class and is placed imprecisely: "
            f"IoU {format_below(iou, self.threshold)} with {object_text}, below {self.threshold:g}",
            "background": f"is a false alarm: its largest IoU is {format_below(iou, self.background)}, below "
            f"{self.background:g}",
        }

    def of_miss(self, truth_index: int) -> DetectionFinding:
        width, height = (self.objects.boxes[truth_index, 2:] - self.objects.boxes[truth_index, :2]).tolist()
        index, iou, reason = self._reason(truth_index)
        text = f"{self._object_text(truth_index)} ({width:.0f} x {height:.0f} pixels) was missed. {reason}."
        return DetectionFinding(MISSED, index, truth_index, iou, text)

    def _reason(self, truth_index: int) -> tuple[int, float, str]:
        """Return the index of the detection that best explains a miss, -1 for none, its IoU, and the reason."""
        index = self.all_matching.object_matches[truth_index]
        if index >= 0 and index not in self.scored_indices:
            iou = float(self.all_matching.overlaps[index, truth_index])
            score = format_below(float(self.detections.scores[index]), self.score)
            description = f"{self._class_name(index)}, score {score}, IoU {iou:.2f}"
            return index, iou, f"Its detection ({description}) is below the score {self.score:g}"
        overlaps = self.matching.overlaps[:, truth_index]
        # The detection that would be a hit with another class or box; if there is none, the one with the highest IoU.
        rank = (
            self.matching.repairs[truth_index]
            if self.matching.repairs[truth_index] >= 0 or not len(overlaps)
            else int(overlaps.argmax())
        )
        if rank < 0 or float(overlaps[rank]) < self.background:
            no_detection_text = f"No detection with a score of at least {self.score:g}"
            return -1, 0.0, f"{no_detection_text} has an IoU of {self.background:g} or more with it"
        kind, matched_index, matched_iou = self.matching.verdicts[rank]
        iou, description = float(overlaps[rank]), self._detection_text(rank)
        if matched_index != truth_index and kind == HIT:
            object_text = self._object_text(matched_index)
            reason = f"{description} has IoU {iou:.2f} with it, but matches {object_text} with IoU {matched_iou:.2f}"
        elif iou >= self.threshold:
            reason = f"{description} has IoU {iou:.2f} with it and the wrong class"
        else:
            reason = f"{description} has IoU {format_below(iou, self.threshold)} with it, below {self.threshold:g}"
        return self.scored_indices[rank], iou, reason

    def _detection_text(self, rank: int) -> str:
        return f"Detection {rank + 1} ({self._class_and_score(self.scored_indices[rank])})"

    def _class_and_score(self, index: int) -> str:
        return f"{self._class_name(index)}, score {float(self.detections.scores[index]):.2f}"

    def _class_name(self, index: int) -> str:
        return self.classes[int(self.detections.labels[index])]

    def _object_text(self, truth_index: int) -> str:
        return f"{self.classes[int(self.objects.labels[truth_index])]} {truth_index + 1}"


def format_below(value: float, limit: float) -> str:
    """Return a value with two decimal places, or with more if the rounded value would not be below the limit."""
    digits = next((n_digits for n_digits in range(2, 7) if float(f"{value:.{n_digits}f}") < limit), 7)
    return f"{value:.{digits}f}"
