"""A sentence with score and IoU for each detection and each missed object of an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pellucid.metrics.verdicts import BACKGROUND, HIT, IGNORED, MISSED, THRESHOLD, Judged, judge
from pellucid.objects import Detections, Objects


class Finding(NamedTuple):
    """A detection or a missed object of an image, and the reason for its kind.

    kind: "hit", "ignored", "missed", or one of `pellucid.metrics.verdicts.ERRORS`. detection, truth: indices in
    `Detections` and `Objects`, -1 for none. iou: of the two. text: the sentence, in which detections and objects are
    numbered from 1.
    """

    kind: str
    detection: int
    truth: int
    iou: float
    text: str


def findings(
    found: Detections,
    truth: Objects,
    classes: Sequence[str],
    score: float = 0.5,
    threshold: float = THRESHOLD,
    background: float = BACKGROUND,
    kind: str = "boxes",
) -> list[Finding]:
    """Return the findings for each detection of at least `score`, by descending score, and then for each missed object.

    The kinds are those of `pellucid.metrics.verdicts.judge`. Detections below `score` count as not made, but may
    explain a miss. Reasons from the detector (anchor, suppression) can be added: `finding._replace(text=...)`.
    """
    order = found.scores.argsort(descending=True, stable=True)
    made = order[found.scores[order] >= score]
    limits = {"threshold": threshold, "background": background, "kind": kind}
    image, everything = judge(found.take(made), truth, **limits), judge(found, truth, **limits)
    words = _Words(found, truth, classes, score, threshold, background, made.tolist(), image, everything)
    detected = [words.of_detection(place) for place in range(len(made))]
    return detected + [words.of_miss(at) for at in image.not_found(truth)]


@dataclass(frozen=True)
class _Words:
    """The sentences of an image; made: the indices of the detections in `image`, by descending score."""

    found: Detections
    truth: Objects
    classes: Sequence[str]
    score: float
    threshold: float
    background: float
    made: list[int]
    image: Judged
    everything: Judged

    def of_detection(self, place: int) -> Finding:
        kind, at, iou = self.image.verdicts[place]
        why = "is a false alarm: the image has no object to find" if at < 0 else self._endings(at, iou)[kind]
        if kind == "duplicate":
            first = self.image.finders[at]
            score, other = float(self.found.scores[self.made[first]]), float(self.image.overlaps[first, at])
            why += f", but detection {first + 1} found it with score {score:.2f} and IoU {other:.2f}"
        return Finding(kind, self.made[place], at, iou, f"{self._detection(place)} {why}.")

    def _endings(self, at: int, iou: float) -> dict[str, str]:
        true = self._object(at)
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

    def of_miss(self, at: int) -> Finding:
        width, height = (self.truth.boxes[at, 2:] - self.truth.boxes[at, :2]).tolist()
        index, iou, why = self._reason(at)
        text = f"{self._object(at)} ({width:.0f} x {height:.0f} pixels) was missed. {why}."
        return Finding(MISSED, index, at, iou, text)

    def _reason(self, at: int) -> tuple[int, float, str]:
        """Return the index of the detection that best explains a miss, or -1, its IoU with the object, and words."""
        index = self.everything.finders[at]
        if index >= 0 and index not in self.made:
            iou = float(self.everything.overlaps[index, at])
            score = below(float(self.found.scores[index]), self.score)
            words = f"{self._class(index)}, score {score}, IoU {iou:.2f}"
            return index, iou, f"Its detection ({words}) is below the score {self.score:g}"
        overlaps = self.image.overlaps[:, at]
        place = self.image.repairs[at] if self.image.repairs[at] >= 0 or not len(overlaps) else int(overlaps.argmax())
        if place < 0 or float(overlaps[place]) < self.background:
            made = f"No detection with a score of at least {self.score:g}"
            return -1, 0.0, f"{made} has an IoU of {self.background:g} or more with it"
        kind, other, best = self.image.verdicts[place]
        iou, words = float(overlaps[place]), self._detection(place)
        if other != at and kind == HIT:
            why = f"{words} has IoU {iou:.2f} with it, but matches {self._object(other)} with IoU {best:.2f}"
        elif iou >= self.threshold:
            why = f"{words} has IoU {iou:.2f} with it and the wrong class"
        else:
            why = f"{words} has IoU {below(iou, self.threshold)} with it, below {self.threshold:g}"
        return self.made[place], iou, why

    def _detection(self, place: int) -> str:
        return f"Detection {place + 1} ({self._scored(self.made[place])})"

    def _scored(self, index: int) -> str:
        return f"{self._class(index)}, score {float(self.found.scores[index]):.2f}"

    def _class(self, index: int) -> str:
        return self.classes[int(self.found.labels[index])]

    def _object(self, at: int) -> str:
        return f"{self.classes[int(self.truth.labels[at])]} {at + 1}"


def below(value: float, limit: float) -> str:
    """Return a value with two decimal places, or with as many as show that it is below a limit."""
    digits = next((n for n in range(2, 7) if float(f"{value:.{n}f}") < limit), 7)
    return f"{value:.{digits}f}"
