"""Average precision of detected boxes."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check
from pellucid.base.text import plural
from pellucid.ops.boxes import box_iou
from pellucid.ops.image_objects import Detections, Objects

N_RECALL_LEVELS = 11  # the recalls 0, 0.1, ..., 1


class Box(NamedTuple):
    """A box (x0, y0, x1, y1) of a class in an image.

    score: the score of a detection, None for a true box.
    """

    image: str
    label: str
    box: tuple[float, float, float, float]
    score: float | None = None


class ClassScores(NamedTuple):
    """Results for one class: the counts of true boxes, detections and hits (true positives), and average precision.

    Both are None for a class without true boxes.
    area: the area under the interpolated precision-recall curve.
    eleven: the mean precision at 11 recalls.
    """

    truths: int
    detections: int
    hits: int
    area: float | None
    eleven: float | None


@dataclass(frozen=True)
class BoxScores:
    """The results of all classes by name, and the means of `area` and `eleven` over the classes with true boxes."""

    classes: dict[str, ClassScores]

    @property
    def area(self) -> float:
        """The mean average precision, from the area under the curve."""
        return _mean_of_present([scores.area for scores in self.classes.values()])

    @property
    def eleven(self) -> float:
        """The mean average precision, from the precision at 11 recalls."""
        return _mean_of_present([scores.eleven for scores in self.classes.values()])


def average_precision(hits: Tensor, truths: int) -> tuple[float, float]:
    """Return the area under the precision-recall curve, and the mean precision at the recalls 0, 0.1, ..., 1.

    hits: (n,) bool, whether each detection is correct, in descending order of scores; truths: the number of true boxes,
    at least 1. The precision at a recall is the highest one at this recall or above, 0 if the recall is not reached.
    Source: Everingham et al. 2010, "The Pascal Visual Object Classes challenge", section 4.2 (11 recalls); the area is
    the challenge's measure from 2010 on.
    """
    n_hits = hits.long().cumsum(0)  # (n,)
    precision = n_hits.double() / torch.arange(1, len(hits) + 1)
    interpolated_precision = precision.flip(0).cummax(0).values.flip(0) if len(hits) else precision
    area = interpolated_precision[hits].sum().item() / truths  # recall rises by 1 / truths at each hit
    recall_levels = torch.arange(N_RECALL_LEVELS)[:, None]
    # (11, n); compared as integers, because recalls such as 0.3 are not exact in binary
    is_reached = (N_RECALL_LEVELS - 1) * n_hits >= recall_levels * truths
    highest_precision = (
        torch.where(is_reached, precision, 0.0).amax(1)
        if len(hits)
        else torch.zeros(N_RECALL_LEVELS, dtype=torch.float64)
    )
    return area, highest_precision.mean().item()


def mean_average_precision(predicted: Sequence[Box], true: Sequence[Box], threshold: float = 0.5) -> BoxScores:
    """Return the average precision of each class, and the means over the classes.

    Detections are compared with the true boxes of their image and class in descending order of scores. A detection is a
    hit if its largest IoU with a true box is at least `threshold`, and this box has not been found before; otherwise it
    is a false positive. Detections with equal scores keep their order. Raises PellucidError without true boxes, for a
    detection without a score, for a box with x1 < x0 or y1 < y0, and for a threshold outside (0, 1].
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
        label: _class_scores(
            [p for p in predicted if p.label == label], [t for t in true if t.label == label], threshold
        )
        for label in labels
    }
    return BoxScores(by_class)


def voc_average_precision(
    detections: Sequence[Detections], objects: Sequence[Objects], threshold: float = 0.5
) -> dict[int, ClassScores]:
    """Return the average precision of each class as the Pascal VOC challenge defines it, by class index.

    It differs from `mean_average_precision` in two rules. A hit has an IoU strictly above `threshold`. Crowds (VOC:
    difficult) are not counted as true boxes, and a detection whose largest IoU is with a crowd is neither a hit nor a
    false positive. VOC's files contain the first and the last pixel of a box, so its width is their difference plus 1;
    in `Objects`, x1 is the right edge of the last pixel, and the width is the same. Raises PellucidError if the numbers
    of images differ. Source: Everingham et al. 2010, section 4.2.
    """
    if len(detections) != len(objects):
        raise PellucidError(f"voc_average_precision: {plural(len(detections), 'list')} of detections and "
                            f"{len(objects)} of objects; give one of each per image")  # fmt: skip
    labels = {label for instances in (*objects, *detections) for label in instances.labels.tolist()}
    return {label: _voc_class_scores(label, detections, objects, threshold) for label in sorted(labels)}


def _voc_class_scores(
    label: int, detections: Sequence[Detections], objects: Sequence[Objects], threshold: float
) -> ClassScores:
    truths_by_image = dict[int, TrueBoxes]()
    scored_boxes = list[tuple[float, int, Tensor]]()
    n_truths = 0
    for image, (detected, truth) in enumerate(zip(detections, objects, strict=True)):
        class_truth = truth.take(truth.labels == label)
        difficult = torch.zeros(len(class_truth), dtype=torch.bool) if class_truth.crowd is None else class_truth.crowd
        truths_by_image[image] = TrueBoxes(class_truth.boxes.double(), difficult)
        n_truths += int((~difficult).sum())
        class_detections = detected.take(detected.labels == label)
        scores_and_boxes = zip(class_detections.scores.tolist(), class_detections.boxes.double(), strict=True)
        scored_boxes += [(score, image, box) for score, box in scores_and_boxes]
    ranked = sorted(scored_boxes, key=lambda score_image_box: score_image_box[0], reverse=True)
    hits = match_detections([(image, box) for _, image, box in ranked], truths_by_image, lambda iou: iou > threshold)
    return _summarize_hits([hit for hit in hits if hit is not None], n_truths)


def _class_scores(predicted: list[Box], true: list[Box], threshold: float) -> ClassScores:
    boxes_by_image: dict[str, list[Box]] = {}
    for entry in true:
        boxes_by_image.setdefault(entry.image, []).append(entry)
    truths_by_image = {
        image: TrueBoxes(_box_tensor(boxes), torch.zeros(len(boxes), dtype=torch.bool))
        for image, boxes in boxes_by_image.items()
    }
    ranked = [(entry.image, _box_tensor([entry])[0]) for entry in sorted(predicted, key=_checked_score, reverse=True)]
    hits = match_detections(ranked, truths_by_image, lambda iou: iou >= threshold)
    return _summarize_hits([hit is True for hit in hits], len(true))


class TrueBoxes(NamedTuple):
    """The true boxes (m, 4) of one class in one image, and whether each is difficult and not counted, (m,) bool."""

    boxes: Tensor
    difficult: Tensor


def match_detections(
    detections: Sequence[tuple[Hashable, Tensor]], truths: Mapping[Any, TrueBoxes], is_hit: Callable[[float], bool]
) -> list[bool | None]:
    """Return, for each detection (image, box), whether it is a hit; None if it is not counted.

    detections: best first. truths: the true boxes by image. Each detection is matched with the true box of the largest
    IoU, the first of equal ones; a second detection of a box is a false positive. is_hit: returns whether an IoU is
    large enough for a hit.
    """
    is_matched = {image: truth.difficult.clone() for image, truth in truths.items()}
    hits: list[bool | None] = []
    for image, box in detections:
        truth = truths.get(image)
        if truth is None or not len(truth.boxes):
            hits.append(False)
            continue
        iou, best_truth = box_iou(box[None], truth.boxes)[0].max(0)
        if not is_hit(iou.item()):
            hits.append(False)
        elif bool(truth.difficult[best_truth]):
            hits.append(None)
        else:
            hits.append(not bool(is_matched[image][best_truth]))
            is_matched[image][best_truth] = True
    return hits


def _summarize_hits(hits: list[bool], n_truths: int) -> ClassScores:
    area, eleven = average_precision(torch.tensor(hits, dtype=torch.bool), n_truths) if n_truths else (None, None)
    return ClassScores(n_truths, len(hits), sum(hits), area, eleven)


def _checked_score(entry: Box) -> float:
    if entry.score is None or entry.score != entry.score:
        raise PellucidError(f"mean_average_precision: a detection in {entry.image} has no score; give it one")
    return entry.score


def _box_tensor(entries: list[Box]) -> Tensor:
    return torch.tensor([entry.box for entry in entries], dtype=torch.float64)


def _mean_of_present(values: list[float | None]) -> float:
    present = [value for value in values if value is not None]
    return sum(present) / len(present)
