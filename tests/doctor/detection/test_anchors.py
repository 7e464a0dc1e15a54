"""Anchors that fit no object, compared with plain loops."""

import pytest
import torch

from pellucid.ops.image_objects import Objects
from pellucid.tasks.detect.doctor import CHECKS, unfitting_anchors
from tests.detectors.drawn import small_single_stage, small_ssd, small_yolo1, small_yolo3
from tests.detectors.test_fast import small_fast
from tests.detectors.two_stages import small_faster
from tests.doctor.detection.small_cases import enlarged_source, make_case, with_changed_objects


@pytest.mark.parametrize("make", [small_single_stage, small_ssd, small_yolo3, small_yolo1, small_fast, small_faster])
def test_fitting_anchors_have_no_finding(make):
    case = make_case(detector=make())
    assert unfitting_anchors.find(case) == []


def overlap(a, b):
    x, y = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(x, 0) * max(y, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def test_objects_six_times_as_large_as_their_anchors_are_found():
    case = make_case(enlarged_source(6))
    (finding,) = unfitting_anchors.find(case)
    best_overlaps = []
    for image, truth in case.sample:
        anchors = [
            (x + s / 2 - 1.5 * s, y + s / 2 - 1.5 * s, x + s / 2 + 1.5 * s, y + s / 2 + 1.5 * s)
            for s in (4, 8)
            for y in range(0, image.shape[1], s)
            for x in range(0, image.shape[2], s)
        ]
        best_overlaps += [max(overlap(box, anchor) for anchor in anchors) for box in truth.boxes.tolist()]
    assert finding.evidence["objects"] == len(best_overlaps) == 27
    assert finding.evidence["fit_by_no_anchor"] == sum(iou < 0.2 for iou in best_overlaps) > 3
    assert finding.evidence["median_iou_with_the_best_anchor"] == pytest.approx(sorted(best_overlaps)[13], rel=1e-4)
    assert finding.evidence["largest_anchor"] == 24


def test_anchors_that_miss_a_minority_are_a_symptom_only():
    """Healthy trainings have such objects too: no anchor fits platelets, a quarter of the objects on blood cells."""

    def with_specks(truth):
        low = truth.boxes[:1, :2].floor()
        return Objects(
            torch.cat([truth.boxes, torch.cat([low, low + 1], 1)]), torch.cat([truth.labels, truth.labels[:1]])
        )

    (few_finding,) = unfitting_anchors.find(make_case(with_changed_objects(with_specks)))
    assert 0.1 < few_finding.evidence["fit_by_no_anchor"] / few_finding.evidence["objects"] < 0.5
    assert not few_finding.is_fault
    (finding_of_all,) = unfitting_anchors.find(make_case(with_changed_objects(corner_pixels)))
    assert finding_of_all.is_fault


def corner_pixels(truth):
    """Return objects of one pixel at the corners of the given ones, between the centres of the anchors."""
    low = truth.boxes[:, :2].div(4).floor() * 4
    return Objects(torch.cat([low, low + 1], 1), truth.labels)


def test_causes_come_before_their_consequences():
    index_by_name = {check.name: index for index, check in enumerate(CHECKS)}
    assert all(
        index_by_name[check.name] < index_by_name[consequence] for check in CHECKS for consequence in check.explains
    )
