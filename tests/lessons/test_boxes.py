"""The lesson about boxes, compared with double loops, Ren et al. 2015 and ../shared/facts/detect.md."""

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from pellucid.lessons import LessonSettings, lesson
from pellucid.lessons.boxes import GUIDE, overlap, suppression
from pellucid.report.figures.style import Plot, png


@cache
def lesson_results():
    return lesson("boxes").results


def numbers(step):
    return lesson_results()[step].numbers


def test_overlaps_by_hand():
    values = numbers("overlap")
    expected = {
        "40 x 40, moved by 10": (900, 2300, 900 / 2300 - 200 / 2500),
        "20 x 20, moved by 10": (100, 700, 100 / 700 - 200 / 900),
        "inside": (900, 2500, 900 / 2500),
        "your pair": (0, 1025, -(3600 - 1025) / 3600),
    }
    for name, (common, union, giou) in expected.items():
        assert values[name] == pytest.approx(
            {"intersection": common, "union": union, "IoU": common / union, "GIoU": giou}, abs=1e-6
        )


def test_the_nine_anchors_are_those_of_the_reference_code():
    values = numbers("anchors")
    assert values["as printed with the reference code"] == [
        [-83, -39, 100, 56], [-175, -87, 192, 104], [-359, -183, 376, 200],
        [-55, -55, 72, 72], [-119, -119, 136, 136], [-247, -247, 264, 264],
        [-35, -79, 52, 96], [-79, -167, 96, 184], [-167, -343, 184, 360],
    ]  # fmt: skip
    assert values["anchors of a map of 38 x 50"] == 9 * 38 * 50
    assert values["width x height"][3:6] == ["128 x 128", "256 x 256", "512 x 512"]


def test_receptive_fields_are_those_of_the_paper():
    values = numbers("fields")
    assert values["with the head's convolution"] == 228  # Ren et al. 2015, section 3.1
    assert values["the last map of VGG-16"] == 228 - 2 * 16
    assert values["share of the anchor that is seen"] == pytest.approx([1, (228 / 256) ** 2, (228 / 512) ** 2])


def iou(a, b):
    common = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def test_anchors_are_assigned_as_by_a_double_loop():
    objects = [(20, 22, 62, 60), (90, 60, 112, 122)]
    anchors = [(16 * c - 12, 16 * r - 12, 16 * c + 28, 16 * r + 28) for r in range(8) for c in range(10)]
    ious = [[iou(anchor, object_) for object_ in objects] for anchor in anchors]
    values = numbers("assignment")
    highest_ious = [max(row[k] for row in ious) for k in range(2)]
    assert values["highest IoU of each object"] == pytest.approx(highest_ious)
    assert highest_ious[0] >= 0.7 > highest_ious[1] > 0.3
    n_first = sum(row[0] >= 0.7 for row in ious)
    assert values["IoU of 0.7"]["positive anchors of each object"] == [n_first, 0]
    n_second = sum(row[1] == highest_ious[1] for row in ious)
    assert values["IoU of 0.7, or the best"]["positive anchors of each object"] == [n_first, n_second]
    assert values["IoU of 0.7"]["background"] == sum(max(row) < 0.3 for row in ious)
    assert min(values["ATSS"]["positive anchors of each object"]) > 0


def test_suppression_keeps_the_boxes_that_a_loop_keeps():
    values = numbers("suppression")
    boxes = [(10, 50), (15, 55), (30, 70), (38, 78), (56, 96)]  # left and right, of equal heights
    kept_indices = []
    for k, (low, high) in enumerate(boxes):
        overlaps = [max(min(high, boxes[j][1]) - max(low, boxes[j][0]), 0) for j in kept_indices]
        if all(overlap / (80 - overlap) <= 0.5 for overlap in overlaps):
            kept_indices.append(k)
    assert values["kept"] == [k + 1 for k in kept_indices] == [1, 3, 5]
    assert values["IoU with each other"][0][2] == pytest.approx(20 / 60, abs=0.005)


def test_average_precision_in_fractions():
    values = numbers("precision")
    assert values["precision"] == pytest.approx([1, 1 / 2, 2 / 3, 3 / 4, 3 / 5])
    assert values["recall"] == pytest.approx([1 / 4, 1 / 4, 1 / 2, 3 / 4, 3 / 4])
    precision_at = {Fraction(1, 4): Fraction(1), Fraction(3, 4): Fraction(3, 4)}

    def mean(count):
        recalls = [Fraction(k, count - 1) for k in range(count)]
        highest = (next((precision_at[r] for r in sorted(precision_at) if r >= recall), 0) for recall in recalls)
        return sum(highest, Fraction(0)) / count

    assert values["average precision"] == pytest.approx(0.625)
    assert values["at 11 recalls"] == pytest.approx(float(mean(11)))
    assert values["at 101 recalls"] == pytest.approx(float(mean(101)), abs=1e-6)


def test_other_moves_and_thresholds_are_those_of_a_loop():
    for right in (0, 5, 20):
        for down in (0, 15, 20):
            first_pair, *_ = overlap(LessonSettings(), right, down).numbers.values()
            expected = iou((10, 10, 50, 50), (10 + right, 10 + down, 50 + right, 50 + down))
            assert first_pair["IoU"] == pytest.approx(expected, abs=1e-6)
    yours = ((3, 4, 33, 50), (8, 10, 70, 44))
    assert overlap(LessonSettings(), yours=yours).numbers["your pair"]["IoU"] == pytest.approx(iou(*yours), abs=1e-6)
    boxes = [(low, 20, low + 40, 60) for low in (10, 15, 30, 38, 56)]
    for threshold in GUIDE.sliders["suppression"][0].values:
        assert suppression(LessonSettings(), threshold).numbers["kept"] == [
            k + 1 for k in kept_by_a_loop(boxes, threshold)
        ]
    row = ((0, 0, 40, 40), (0, 30, 40, 80), (5, 5, 45, 40), (60, 0, 109, 70), (2, 25, 42, 70))
    assert suppression(LessonSettings(), row=row).numbers["kept"] == [k + 1 for k in kept_by_a_loop(row, 0.5)]


def kept_by_a_loop(boxes, threshold):
    kept = []
    for k, box in enumerate(boxes):
        if all(iou(box, boxes[j]) <= threshold for j in kept):
            kept.append(k)
    return kept


def test_the_answers_of_the_exercises():
    overlap_answer, kept_answer, precision_answer = (exercise.answer for exercise in GUIDE.exercises)
    pixels = np.zeros((2, 10, 15), bool)
    pixels[0, :, :10] = True
    pixels[1, :, 5:] = True
    assert overlap_answer == pytest.approx(pixels.all(0).sum() / pixels.any(0).sum())
    iou_of = {("A", "B"): 0.6, ("B", "C"): 0.6, ("A", "C"): 0.3}
    kept = []
    for name in "ABC":
        if all(iou_of[other, name] <= 0.5 for other in kept):
            kept.append(name)
    assert kept_answer == len(kept)
    assert precision_answer == pytest.approx(average_precision_score([1, 0, 1], [3, 2, 1]))


def test_the_function_exercise_has_boxes_that_are_apart():
    calls = [GUIDE.functions["iou"].arguments(np.random.default_rng(seed)) for seed in range(5)]
    ious = [GUIDE.functions["iou"].reference(*boxes) for boxes in calls]
    assert ious == pytest.approx([iou(*boxes) for boxes in calls])
    assert min(ious) == 0 < max(ious)


def test_every_step_has_a_figure():
    assert all(isinstance(result.figure, Plot) and png(result.figure) for result in lesson_results().values())
