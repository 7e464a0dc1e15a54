"""The lesson about detectors, compared with plain counts and with its true objects."""

from functools import cache

import pytest

from pellucid.lessons import LessonSettings, lesson
from pellucid.lessons.detectors import GUIDE, TRUE_OBJECTS, grid, proposing
from pellucid.report.figures.style import Plot, png


@cache
def lesson_results():
    return lesson("detectors", small=True).results


def numbers(step):
    return lesson_results()[step].numbers


@pytest.mark.heavy
@pytest.mark.slow
def test_the_number_of_sliding_windows_by_counting():
    """Each cell has windows of five sizes and three shapes; this image has 6 x 8 cells, the large one 38 x 50."""
    values = numbers("sliding")
    assert values["windows of this image"] == 6 * 8 * 15
    assert values["windows of an image of 600 x 800"] == 28_500
    # The work of MobileNetV2 is nearly proportional to the number of cells of its last map.
    window_cells, image_cells = 28_500 * 3 * 3, 19 * 25
    assert values["multiply-adds of these over those of the image"] == pytest.approx(
        window_cells / image_cells, rel=0.02
    )
    assert round(values["multiply-adds of these over those of the image"]) == 543
    assert 0 < values["with an IoU of 0.5 with an object"] < 30


@pytest.mark.heavy
@pytest.mark.slow
def test_regression_moves_boxes_nearer_to_the_objects():
    values = numbers("rcnn")
    assert values["proposals"] == 720
    assert min(values["IoU with each object, boxes as proposed"]) >= 0.5
    assert sum(values["IoU, boxes moved"]) > sum(values["IoU with each object, boxes as proposed"])


@pytest.mark.heavy
@pytest.mark.slow
def test_shared_features_are_equal_inside_and_differ_at_the_borders():
    values = numbers("sharing")
    pixel_cost = 9 * 3 * 16 + 9 * 16 * 16  # multiply-adds of both convolutions for a pixel
    assert values["multiply-adds, each window by itself"] == 720 * 16 * 16 * pixel_cost
    assert values["multiply-adds, one map for all"] == 48 * 64 * pixel_cost
    assert values["largest difference, two pixels inside"] < 1e-5
    assert values["largest difference at the borders"] > 0.1


@pytest.mark.heavy
@pytest.mark.slow
def test_learned_proposals_lie_on_the_objects():
    values = numbers("proposing")
    assert values["anchors"] == 12 * 16 + 6 * 8
    assert len(values["scores of the proposals"]) == len(TRUE_OBJECTS) == 3
    assert min(values["IoU of each object with its best proposal"]) > 0.5


@pytest.mark.heavy
@pytest.mark.slow
def test_the_cell_of_an_object_contains_its_centre():
    values = numbers("grid")
    centres = ((TRUE_OBJECTS.boxes[:, :2] + TRUE_OBJECTS.boxes[:, 2:]) / 2).tolist()
    assert values["cell of each object"] == [int(y // 8) * 8 + int(x // 8) for x, y in centres]
    assert min(values["IoU of each object with its best detection"]) > 0.4


@pytest.mark.slow
def test_every_step_has_a_figure():
    assert all(isinstance(result.figure, Plot) and png(result.figure) for result in lesson_results().values())


@pytest.mark.slow
def test_a_threshold_shows_the_detections_above_it():
    all_scores = grid(LessonSettings(small=True), threshold=0.05).numbers["scores of the detections"]
    for threshold in GUIDE.sliders["grid"][0].values:
        scores = grid(LessonSettings(small=True), threshold).numbers["scores of the detections"]
        assert scores == [score for score in all_scores if score >= threshold]


@pytest.mark.slow
def test_more_proposals_lie_no_farther_from_the_objects():
    default_scores = proposing(LessonSettings(small=True)).numbers["scores of the proposals"]
    best_ious = []
    for count in GUIDE.sliders["proposing"][0].values:
        values = proposing(LessonSettings(small=True), count).numbers
        assert len(values["scores of the proposals"]) <= count
        assert values["scores of the proposals"][:3] == default_scores[:count]
        best_ious.append(values["IoU of each object with its best proposal"])
    assert all(list(ious) == sorted(ious) for ious in zip(*best_ious, strict=True))


def test_the_answers_of_the_exercises():
    cells = [(top, left) for top in range(0, 600, 16) for left in range(0, 800, 16)]
    small_cells = [(top, left) for top in range(0, 48, 8) for left in range(0, 64, 8)]
    (cell,) = [k for k, (top, left) in enumerate(small_cells) if top <= 20 < top + 8 and left <= 45 < left + 8]
    ratio = sum([1_000] * 2_000) / (10_000 + sum([10] * 2_000))  # in millions
    assert [exercise.answer for exercise in GUIDE.exercises] == [15 * len(cells), cell, pytest.approx(ratio, abs=0.05)]
