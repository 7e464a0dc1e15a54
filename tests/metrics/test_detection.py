"""Average precision of boxes and the IoU of areas.

Average precision is compared with scikit-learn's, with loops by its definition, with a published example and with an
implementation like that of VOC's devkit; the IoU of areas with published values.
"""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from conformance.detection import draw_set
from pellucid.base.errors import PellucidError
from pellucid.metrics import (
    Box,
    ClassScores,
    average_precision,
    iou_of_areas,
    mean_average_precision,
    voc_average_precision,
)
from pellucid.ops.image_objects import Detections, Objects

# The toy set of ../shared/facts/detect.md: 24 detections at IoU 0.3 in the order of their scores, 15 true boxes.
EXAMPLE_HITS = [k in (0, 2, 9, 11, 12, 13, 22) for k in range(24)]


def averages_by_definition(hits: list[bool], truths: int) -> tuple[float, float]:
    """Return area and 11-point mean of the interpolated precision: the highest precision at a recall or above."""
    hits_and_precision: list[tuple[int, float]] = []  # up to each detection: number of hits, precision
    n_hits = 0
    for n_detections, hit in enumerate(hits, 1):
        n_hits += hit
        hits_and_precision.append((n_hits, n_hits / n_detections))
    highest_precision = [max((p for n, p in hits_and_precision if n >= k), default=0.0) for k in range(truths + 1)]
    eleven = [max((p for n, p in hits_and_precision if 10 * n >= k * truths), default=0.0) for k in range(11)]
    return sum(highest_precision[1:]) / truths, sum(eleven) / 11


def test_average_precision_of_the_published_example():
    area, eleven = average_precision(torch.tensor(EXAMPLE_HITS), 15)
    assert area == pytest.approx(0.2456866804, abs=1e-10)
    assert eleven == pytest.approx(0.2683982683, abs=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_both_averages_follow_the_definition(seed: int):
    rng = np.random.default_rng(seed)
    hits = (rng.random(rng.integers(0, 30)) < rng.random()).tolist()
    truths = max(1, sum(hits) + int(rng.integers(0, 8)))
    assert average_precision(torch.tensor(hits, dtype=torch.bool), truths) == pytest.approx(
        averages_by_definition(hits, truths)
    )


def test_average_precision_of_falling_precision_is_scikit_learns():
    """scikit-learn does not interpolate; both agree if precision falls from hit to hit and every object is found."""
    hits = [True, True, False, True, False, False, True]
    expected = average_precision_score(hits, np.arange(len(hits))[::-1])
    assert average_precision(torch.tensor(hits), sum(hits))[0] == pytest.approx(expected, rel=1e-12)


TRUE_BOXES = [
    Box("a", "cat", (0, 0, 10, 10)), Box("a", "cat", (20, 0, 30, 10)), Box("b", "cat", (0, 0, 10, 10)),
    Box("b", "dog", (5, 5, 15, 15)),
]  # fmt: skip


def test_detections_are_matched_in_the_order_of_their_scores():
    predicted = [
        Box("a", "cat", (0, 0, 10, 8), 0.6),  # IoU 0.8, but the box below comes first
        Box("a", "cat", (1, 0, 11, 10), 0.9),  # IoU 9 / 11: a hit
        Box("b", "cat", (0, 0, 10, 10), 0.7),  # a hit
        Box("c", "cat", (0, 0, 10, 10), 0.8),  # in an image without cats
        Box("b", "dog", (0, 0, 10, 10), 0.5),  # IoU 25 / 175
        Box("b", "owl", (0, 0, 1, 1), 0.5),  # a class without true boxes
    ]
    result = mean_average_precision(predicted, TRUE_BOXES)
    area, eleven = averages_by_definition([True, False, True, False], 3)
    cat = result.classes["cat"]
    assert (cat.truths, cat.detections, cat.hits) == (3, 4, 2)
    assert (cat.area, cat.eleven) == (pytest.approx(area), pytest.approx(eleven))
    assert result.classes["dog"] == ClassScores(truths=1, detections=1, hits=0, area=0, eleven=0)
    assert result.classes["owl"] == ClassScores(truths=0, detections=1, hits=0, area=None, eleven=None)
    assert (result.area, result.eleven) == (pytest.approx(area / 2), pytest.approx(eleven / 2))
    assert mean_average_precision(predicted, TRUE_BOXES, 1 / 7).classes["dog"].hits == 1
    assert mean_average_precision(predicted, TRUE_BOXES, 0.82).classes["cat"].hits == 1


def test_perfect_detections_score_1_and_none_score_0():
    perfect = mean_average_precision([box._replace(score=0.5) for box in TRUE_BOXES], TRUE_BOXES)
    assert (perfect.area, perfect.eleven) == (1.0, 1.0)
    assert mean_average_precision([], TRUE_BOXES).area == 0.0


@pytest.mark.parametrize(
    ("predicted", "true", "threshold", "message"),
    [
        ([], [], 0.5, "no true boxes"),
        ([], TRUE_BOXES, 0.0, "threshold"),
        ([TRUE_BOXES[0]], TRUE_BOXES, 0.5, "no score"),
        ([Box("a", "cat", (5, 0, 0, 1), 0.5)], TRUE_BOXES, 0.5, "x0 <= x1"),
    ],
)
def test_invalid_arguments_are_refused(predicted: list[Box], true: list[Box], threshold: float, message: str):
    with pytest.raises(PellucidError, match=message):
        mean_average_precision(predicted, true, threshold)


def voc_recall_and_precision(
    detections: list[Detections], objects: list[Objects], label: int
) -> tuple[list[float], list[float]]:
    """Return recall and precision as in VOC's devkit: inclusive pixel coordinates, difficult objects ignored."""
    truths, n_counted = {}, 0
    for image, truth in enumerate(objects):
        class_truth = truth.take(truth.labels == label)
        boxes = class_truth.boxes.numpy() - np.array([0, 0, 1, 1])  # coordinates of the last pixels
        difficult = class_truth.crowd.numpy()  # VOC's difficult objects are the crowds of `Objects`
        truths[image] = boxes, difficult, np.zeros(len(boxes), bool)
        n_counted += int((~difficult).sum())
    scored_boxes = [
        (float(score), image, box.numpy() - np.array([0, 0, 1, 1]))
        for image, detected in enumerate(detections)
        for score, box, box_label in zip(detected.scores, detected.boxes, detected.labels, strict=True)
        if box_label == label
    ]
    true_positives, false_positives = [], []
    for _, image, box in sorted(scored_boxes, key=lambda entry: -entry[0]):
        best_iou, best_index = -np.inf, -1
        boxes, difficult, is_found = truths[image]
        for k, true in enumerate(boxes):
            width = min(box[2], true[2]) - max(box[0], true[0]) + 1
            height = min(box[3], true[3]) - max(box[1], true[1]) + 1
            if width > 0 and height > 0:
                sizes = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, true)]
                overlap = width * height / (sum(sizes) - width * height)
                if overlap > best_iou:
                    best_iou, best_index = overlap, k
        hit = best_iou > 0.5
        if hit and difficult[best_index]:
            continue
        true_positives.append(hit and not is_found[best_index])
        false_positives.append(not true_positives[-1])
        if hit:
            is_found[best_index] = True
    n_true, n_false = np.cumsum(true_positives), np.cumsum(false_positives)
    return (n_true / n_counted).tolist(), (n_true / np.maximum(n_true + n_false, 1)).tolist()


# With seeds that are divisible by 3, the boxes lie on a grid: many overlaps are equal, or at the threshold.
@pytest.mark.parametrize("seed", [0, 3, 6, 21, 24])
def test_voc_average_precision_is_that_of_the_devkit(seed: int):
    random_set = draw_set("boxes", seed)
    scores = voc_average_precision(random_set.detections, random_set.objects)
    assert scores
    for label, class_scores in scores.items():
        if not class_scores.truths:
            assert class_scores.area is None
            continue
        recall, precision = voc_recall_and_precision(random_set.detections, random_set.objects, label)
        envelope = [max(precision[k:]) for k in range(len(precision))]
        steps = np.diff([0.0, *recall])
        assert class_scores.area == pytest.approx(float(np.dot(steps, envelope)))
        highest = [max((p for r, p in zip(recall, precision, strict=True) if r >= t - 1e-9), default=0.0)
                   for t in np.arange(0, 1.1, 0.1)]  # fmt: skip
        assert class_scores.eleven == pytest.approx(np.mean(highest))


def test_voc_counts_only_overlaps_above_the_threshold():
    half_box, label = torch.tensor([[0.0, 0.0, 10.0, 5.0]]), torch.tensor([0])
    truth = Objects(torch.tensor([[0.0, 0.0, 10.0, 10.0]]), label)
    assert voc_average_precision([Detections(half_box, torch.ones(1), label)], [truth])[0].hits == 0
    larger_detection = Detections(half_box + torch.tensor([0.0, 0.0, 0.0, 0.1]), torch.ones(1), label)
    assert voc_average_precision([larger_detection], [truth])[0].hits == 1


def test_voc_refuses_different_numbers_of_images():
    with pytest.raises(PellucidError, match="0 lists of detections and 1 of objects"):
        voc_average_precision([], draw_set("boxes", 0).objects[:1])


def test_iou_of_areas_equals_published_values():
    """The values of ../shared/facts/learn.md, which are often called mAP."""
    result = iou_of_areas((189, 31), (201, 50), (185, 23))
    assert result.tolist() == pytest.approx([0.902, 0.397], abs=5e-4)
    assert round(result.mean().item(), 2) == 0.65
    assert iou_of_areas(0, 0, 0).isnan()
    for areas in ((1, 2, 3), (2, 2, -1)):
        with pytest.raises(PellucidError, match="common area"):
            iou_of_areas(*areas)
