"""Anchors that fit no object, objects that no anchor learns: counted by plain loops beside."""

import pytest
import torch

from pellucid.image_objects import Objects
from pellucid.tasks.detect.doctor import CHECKS, no_positives, unfitting_anchors
from tests.detectors.drawn import small_single_stage, small_ssd, small_yolo1, small_yolo3
from tests.detectors.test_fast import small_fast
from tests.detectors.two_stages import small_faster
from tests.doctor.detection.examined import case, changed, resized


@pytest.mark.parametrize("make", [small_single_stage, small_ssd, small_yolo3, small_yolo1, small_fast, small_faster])
def test_fitting_anchors_have_no_finding(make):
    it = case(detector=make())
    assert unfitting_anchors.look(it) == []
    assert no_positives.look(it) == []


def overlap(a, b):
    x, y = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(x, 0) * max(y, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def test_objects_six_times_as_large_as_their_anchors_are_found():
    it = case(resized(6))
    (found,) = unfitting_anchors.look(it)
    best = []
    for image, truth in it.sample:
        anchors = [
            (x + s / 2 - 1.5 * s, y + s / 2 - 1.5 * s, x + s / 2 + 1.5 * s, y + s / 2 + 1.5 * s)
            for s in (4, 8)
            for y in range(0, image.shape[1], s)
            for x in range(0, image.shape[2], s)
        ]
        best += [max(overlap(box, anchor) for anchor in anchors) for box in truth.boxes.tolist()]
    assert found.evidence["objects"] == len(best) == 27
    assert found.evidence["fit_by_no_anchor"] == sum(iou < 0.2 for iou in best) > 3
    assert found.evidence["median_iou_with_the_best_anchor"] == pytest.approx(sorted(best)[13], rel=1e-4)
    assert found.evidence["largest_anchor"] == 24


def test_anchors_that_miss_a_minority_are_a_symptom_only():
    """Of healthy trainings on blood cells, a quarter of the objects are platelets that no anchor fits."""

    def with_specks(truth):
        low = truth.boxes[:1, :2].floor()
        return Objects(
            torch.cat([truth.boxes, torch.cat([low, low + 1], 1)]), torch.cat([truth.labels, truth.labels[:1]])
        )

    (few,) = unfitting_anchors.look(case(changed(with_specks)))
    assert 0.1 < few.evidence["fit_by_no_anchor"] / few.evidence["objects"] < 0.5
    assert not few.direct
    assert not any(found.direct for found in no_positives.look(case(changed(with_specks))))
    for check in (unfitting_anchors, no_positives):
        (all_of_them,) = check.look(case(changed(specks)))
        assert all_of_them.direct


def specks(truth):
    """Boxes of a pixel at the corners of the objects, between the centres of the anchors."""
    low = truth.boxes[:, :2].div(4).floor() * 4
    return Objects(torch.cat([low, low + 1], 1), truth.labels)


def test_objects_that_hold_the_centre_of_no_anchor_are_not_learned():
    it = case(changed(specks))
    (found,) = no_positives.look(it)
    assert found.evidence["objects"] == found.evidence["learned_by_no_anchor"] == 27
    assert found.evidence["images_without_a_positive_anchor"] == 9
    assert found.evidence["median_side_of_these_objects"] == 1


def test_of_several_objects_in_a_cell_one_is_learned():
    def doubled(truth):
        return Objects(truth.boxes.repeat(2, 1), truth.labels.repeat(2))

    (found,) = no_positives.look(case(changed(doubled), small_yolo1()))
    assert found.evidence["learned_by_no_anchor"] == 27
    assert found.evidence["images_without_a_positive_anchor"] == 0


def test_causes_come_before_what_follows_from_them():
    places = {check.name: place for place, check in enumerate(CHECKS)}
    assert all(places[check.name] < places[other] for check in CHECKS for other in check.explains)
