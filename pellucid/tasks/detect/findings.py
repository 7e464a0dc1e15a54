"""A sentence with score and IoU for each detection and each missed object of an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pellucid.image_objects import Detections, Objects
from pellucid.metrics.verdicts import BACKGROUND, HIT, IGNORED, MISSED, THRESHOLD, MatchedImage, classify_detections


class DetectionFinding(NamedTuple):
    """A detection or a missed object of an image, and the reason for its kind.

    kind: "hit", "ignored", "missed", or one of `pellucid.metrics.verdicts.ERRORS`. detection, object_index: indices in
    `Detections` and `Objects`, -1 for none. iou: of the two. text: the sentence, in which detections and objects are
    numbered from 1.
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
    threshold: float = THRESHOLD,
    background: float = BACKGROUND,
    kind: str = "boxes",
) -> list[DetectionFinding]:
    """Return the findings for each detection of at least `score`, by descending score, and then for each missed object.

    The kinds of findings are those of `pellucid.metrics.verdicts.classify_detections`. kind: "boxes" or "masks", of
    which the IoU is computed. Detections below `score` count as not made, but may explain a miss. Reasons from the
    detector (anchor, suppression) can be added: `finding._replace(text=...)`.
    """
    order = detections.scores.argsort(descending=True, stable=True)
    scored = order[detections.scores[order] >= score]
    limits = {"threshold": threshold, "background": background, "kind": kind}
    matched, all_matched = (
        classify_detections(detections.take(scored), objects, **limits),
        classify_detections(detections, objects, **limits),
    )
    words = _Sentences(
        detections, objects, classes, score, threshold, background, scored.tolist(), matched, all_matched
    )
    detected = [words.of_detection(rank) for rank in range(len(scored))]
    return detected + [words.of_miss(truth_index) for truth_index in matched.not_found(objects)]


@dataclass(frozen=True)
class _Sentences:
    """The sentences of an image.

    matched: the verdicts on the detections with a score of at least `score`; scored: their indices in `detections`, by
    descending score. all_matched: the verdicts on all detections.
    """

    detections: Detections
    objects: Objects
    classes: Sequence[str]
    score: float
    threshold: float
    background: float
    scored: list[int]
    matched: MatchedImage
    all_matched: MatchedImage

    def of_detection(self, rank: int) -> DetectionFinding:
        kind, truth_index, iou = self.matched.verdicts[rank]
        reason = (
            "is a false alarm: the image has no object to find"
            if truth_index < 0
            else self._endings(truth_index, iou)[kind]
        )
        if kind == "duplicate":
            first = self.matched.finders[truth_index]
            score, other = (
                float(self.detections.scores[self.scored[first]]),
                float(self.matched.overlaps[first, truth_index]),
            )
            reason += f", but detection {first + 1} found it with score {score:.2f} and IoU {other:.2f}"
        return DetectionFinding(kind, self.scored[rank], truth_index, iou, f"{self._detection(rank)} {reason}.")

    def _endings(self, truth_index: int, iou: float) -> dict[str, str]:
        true = self._object(truth_index)
        overlap = f"IoU {iou:.2f} with {true}"
        return {
            HIT: f"is right: {overlap}",
            IGNORED: f"does not count: it matches {true}, which is labelled as a crowd or as difficult",
            "duplicate": f"is a duplicate: {overlap}",
            "class": f"has the wrong class: {overlap}",
            "place": f"is placed imprecisely: IoU {below(iou, self.threshold)} with {true}, below {self.threshold:g}",
            "both": "has the wrong class and is placed imprecisely: "
            f"IoU {below(iou, self.threshold)} with {true}, below {self.threshold:g}",
            "background": f"is a false alarm: its largest IoU is {below(iou, self.background)}, below "
            f"{self.background:g}",
        }

    def of_miss(self, truth_index: int) -> DetectionFinding:
        width, height = (self.objects.boxes[truth_index, 2:] - self.objects.boxes[truth_index, :2]).tolist()
        index, iou, reason = self._reason(truth_index)
        text = f"{self._object(truth_index)} ({width:.0f} x {height:.0f} pixels) was missed. {reason}."
        return DetectionFinding(MISSED, index, truth_index, iou, text)

    def _reason(self, truth_index: int) -> tuple[int, float, str]:
        """Return the index of the detection that best explains a miss, -1 for none, its IoU, and the reason."""
        index = self.all_matched.finders[truth_index]
        if index >= 0 and index not in self.scored:
            iou = float(self.all_matched.overlaps[index, truth_index])
            score = below(float(self.detections.scores[index]), self.score)
            words = f"{self._class(index)}, score {score}, IoU {iou:.2f}"
            return index, iou, f"Its detection ({words}) is below the score {self.score:g}"
        overlaps = self.matched.overlaps[:, truth_index]
        # The detection that would find the object with another class or place; without one, the nearest detection.
        rank = (
            self.matched.repairs[truth_index]
            if self.matched.repairs[truth_index] >= 0 or not len(overlaps)
            else int(overlaps.argmax())
        )
        if rank < 0 or float(overlaps[rank]) < self.background:
            nothing = f"No detection with a score of at least {self.score:g}"
            return -1, 0.0, f"{nothing} has an IoU of {self.background:g} or more with it"
        kind, other, best = self.matched.verdicts[rank]
        iou, words = float(overlaps[rank]), self._detection(rank)
        if other != truth_index and kind == HIT:
            reason = f"{words} has IoU {iou:.2f} with it, but matches {self._object(other)} with IoU {best:.2f}"
        elif iou >= self.threshold:
            reason = f"{words} has IoU {iou:.2f} with it and the wrong class"
        else:
            reason = f"{words} has IoU {below(iou, self.threshold)} with it, below {self.threshold:g}"
        return self.scored[rank], iou, reason

    def _detection(self, rank: int) -> str:
        return f"Detection {rank + 1} ({self._scored(self.scored[rank])})"

    def _scored(self, index: int) -> str:
        return f"{self._class(index)}, score {float(self.detections.scores[index]):.2f}"

    def _class(self, index: int) -> str:
        return self.classes[int(self.detections.labels[index])]

    def _object(self, truth_index: int) -> str:
        return f"{self.classes[int(self.objects.labels[truth_index])]} {truth_index + 1}"


def below(value: float, limit: float) -> str:
    """Return a value with two decimal places, or with as many as show that it is below a limit."""
    digits = next((n for n in range(2, 7) if float(f"{value:.{n}f}") < limit), 7)
    return f"{value:.{digits}f}"
