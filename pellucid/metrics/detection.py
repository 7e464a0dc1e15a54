"""Average precision of detected boxes."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.image_objects import Detections, Objects
from pellucid.ops.boxes import box_iou
from pellucid.settings.checks import check

LEVELS = 11  # the recalls 0, 0.1, ..., 1


class Box(NamedTuple):
    """A box (x0, y0, x1, y1) of a class in an image. score: of a detection, None for a true box."""

    image: str
    label: str
    box: tuple[float, float, float, float]
    score: float | None = None


class ClassScores(NamedTuple):
    """The detections of one class: counts of true boxes, detections and hits (true positives), and average precision.

    area, eleven: the area under the interpolated precision-recall curve, and its mean at 11 recalls; None for a class
    without true boxes.
    """

    truths: int
    detections: int
    hits: int
    area: float | None
    eleven: float | None


@dataclass(frozen=True)
class BoxScores:
    """The classes by name, and the means of `area` and `eleven` over the classes that have true boxes."""

    classes: dict[str, ClassScores]

    @property
    def area(self) -> float:
        """The mean average precision, by the area under the curve."""
        return _mean([scores.area for scores in self.classes.values()])

    @property
    def eleven(self) -> float:
        """The mean average precision, at 11 recalls."""
        return _mean([scores.eleven for scores in self.classes.values()])


def average_precision(hits: Tensor, truths: int) -> tuple[float, float]:
    """Return the area under the precision-recall curve, and the mean precision at the recalls 0, 0.1, ..., 1.

    hits: (n,) bool, whether each detection is correct, in descending order of scores; truths: the number of true boxes,
    at least 1. The precision at a recall is the highest at that recall or above, 0 if the recall is not reached.
    Source: Everingham et al. 2010, "The Pascal Visual Object Classes challenge", section 4.2 (11 recalls); the area is
    the challenge's measure from 2010 on.
    """
    n_found = hits.long().cumsum(0)  # (n,)
    precision = n_found.double() / torch.arange(1, len(hits) + 1)
    envelope = precision.flip(0).cummax(0).values.flip(0) if len(hits) else precision
    area = envelope[hits].sum().item() / truths  # recall rises by 1 / truths at each hit
    levels = torch.arange(LEVELS)[:, None]
    reached = (LEVELS - 1) * n_found >= levels * truths  # (11, n), in integers: 0.3 is not a binary fraction
    best = torch.where(reached, precision, 0.0).amax(1) if len(hits) else torch.zeros(LEVELS, dtype=torch.float64)
    return area, best.mean().item()


def mean_average_precision(predicted: Sequence[Box], true: Sequence[Box], threshold: float = 0.5) -> BoxScores:
    """Return the average precision of each class, and its means.

    In the order of descending scores, a detection is a hit if the true box of its image and class with the largest IoU
    has an IoU of at least `threshold`, and has not been found before; otherwise it is a false positive. Detections
    with equal scores keep their order. Raises PellucidError without true boxes, for a detection without a score, for a
    box with x1 < x0 or y1 < y0, and for a threshold outside (0, 1].
    """
    check(0 < threshold <= 1, "mean_average_precision: the threshold", "above 0 and at most 1", threshold)
    if not true:
        raise PellucidError("mean_average_precision: there are no true boxes; give at least one")
    for entry in (*predicted, *true):
        x0, y0, x1, y1 = entry.box
        if not (x0 <= x1 and y0 <= y1):  # false for NaN
            raise PellucidError(f"mean_average_precision: {entry.image}: box {entry.box} needs x0 <= x1 and y0 <= y1")
    labels = dict.fromkeys(entry.label for entry in (*true, *predicted))
    by_class = {
        label: _of_class([p for p in predicted if p.label == label], [t for t in true if t.label == label], threshold)
        for label in labels
    }
    return BoxScores(by_class)


def voc_average_precision(
    detections: Sequence[Detections], objects: Sequence[Objects], threshold: float = 0.5
) -> dict[int, ClassScores]:
    """Return the average precision of each class as the Pascal VOC challenge defines it, by class index.

    As `mean_average_precision`, except that a hit has an IoU strictly above `threshold`, and that a detection whose
    best truth is a crowd (VOC: difficult) is neither a hit nor a false positive; crowds do not count as truths.
    VOC's files contain the first and the last pixel of a box, so its width is their difference plus 1; in `Objects`, x1
    is the right edge of the last pixel, and the width is the same. Raises PellucidError if the numbers
    of images differ. Source: Everingham et al. 2010, section 4.2.
    """
    if len(detections) != len(objects):
        raise PellucidError(f"voc_average_precision: {len(detections)} detections and {len(objects)} objects; give one "
                            "of each per image")  # fmt: skip
    labels = {label for part in (*objects, *detections) for label in part.labels.tolist()}
    return {label: _voc_class(label, detections, objects, threshold) for label in sorted(labels)}


def _voc_class(
    label: int, detections: Sequence[Detections], objects: Sequence[Objects], threshold: float
) -> ClassScores:
    truths, scored, count = dict[int, Truth](), list[tuple[float, int, Tensor]](), 0
    for image, (found, truth) in enumerate(zip(detections, objects, strict=True)):
        true = truth.take(truth.labels == label)
        difficult = torch.zeros(len(true), dtype=torch.bool) if true.crowd is None else true.crowd
        truths[image] = Truth(true.boxes.double(), difficult)
        count += int((~difficult).sum())
        of_class = found.take(found.labels == label)
        boxes = zip(of_class.scores.tolist(), of_class.boxes.double(), strict=True)
        scored += [(score, image, box) for score, box in boxes]
    ordered = sorted(scored, key=lambda entry: entry[0], reverse=True)
    verdicts = match_detections([(image, box) for _, image, box in ordered], truths, lambda iou: iou > threshold)
    return _scores([hit for hit in verdicts if hit is not None], count)


def _of_class(predicted: list[Box], true: list[Box], threshold: float) -> ClassScores:
    images: dict[str, list[Box]] = {}
    for entry in true:
        images.setdefault(entry.image, []).append(entry)
    truths = {
        image: Truth(_tensor(boxes), torch.zeros(len(boxes), dtype=torch.bool)) for image, boxes in images.items()
    }
    ordered = [(entry.image, _tensor([entry])[0]) for entry in sorted(predicted, key=_score, reverse=True)]
    return _scores([hit is True for hit in match_detections(ordered, truths, lambda iou: iou >= threshold)], len(true))


class Truth(NamedTuple):
    """The true boxes (m, 4) of one class in one image, and which of them are not counted: (m,) bool."""

    boxes: Tensor
    difficult: Tensor


def match_detections(
    detections: Sequence[tuple[Hashable, Tensor]], truths: Mapping[Any, Truth], enough: Callable[[float], bool]
) -> list[bool | None]:
    """Return, for each detection (image, box), whether it is a hit; None if it is not counted.

    detections: best first. Each takes the truth with the largest IoU, the first of equal ones; a second detection of a
    truth is a false positive. enough: returns whether an IoU is large enough for a hit.
    """
    matched = {image: truth.difficult.clone() for image, truth in truths.items()}
    verdicts: list[bool | None] = []
    for image, box in detections:
        truth = truths.get(image)
        if truth is None or not len(truth.boxes):
            verdicts.append(False)
            continue
        iou, best = box_iou(box[None], truth.boxes)[0].max(0)
        if not enough(iou.item()):
            verdicts.append(False)
        elif bool(truth.difficult[best]):
            verdicts.append(None)
        else:
            verdicts.append(not bool(matched[image][best]))
            matched[image][best] = True
    return verdicts


def _scores(hits: list[bool], truths: int) -> ClassScores:
    area, eleven = average_precision(torch.tensor(hits, dtype=torch.bool), truths) if truths else (None, None)
    return ClassScores(truths, len(hits), sum(hits), area, eleven)


def _score(entry: Box) -> float:
    if entry.score is None or entry.score != entry.score:
        raise PellucidError(f"mean_average_precision: a detection in {entry.image} has no score; give it one")
    return entry.score


def _tensor(entries: list[Box]) -> Tensor:
    return torch.tensor([entry.box for entry in entries], dtype=torch.float64)


def _mean(values: list[float | None]) -> float:
    present = [value for value in values if value is not None]
    return sum(present) / len(present)
