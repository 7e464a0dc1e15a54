"""The decision on candidates: which become detections, and why the others do not."""

import torch

from pellucid.detectors import Candidates, Fate, base
from pellucid.detectors.base import join_maps, split_maps
from tests.detectors.drawn import small_single_stage

BOXES = torch.tensor(
    [[0, 0, 10, 10], [0, 0, 10, 8], [20, 20, 30, 30], [0, 0, 10, 9], [21, 20, 30, 30]], dtype=torch.float32
)
SCORES = torch.tensor([[0.9, 0.01], [0.8, 0.3], [0.02, 0.7], [0.6, 0.0], [0.0, 0.04]])


def decision_on_boxes():
    return small_single_stage().decide(Candidates(BOXES, SCORES, torch.arange(5), (40, 40)))


def test_each_candidate_has_a_reason_for_each_class():
    decision = decision_on_boxes()
    result = decision.detections
    assert result.scores.tolist() == [SCORES[0, 0], SCORES[2, 1], SCORES[1, 1]]
    assert result.labels.tolist() == [0, 1, 1]  # box 1 is suppressed by box 0 in class 0, and detected in class 1
    assert decision.selected_indices.tolist() == [0, 2, 1]
    assert torch.equal(result.boxes, BOXES[[0, 2, 1]])
    low_score, detected, suppressed = Fate.LOW_SCORE, Fate.DETECTED, Fate.SUPPRESSED
    assert decision.fates.tolist() == [
        [detected, low_score],
        [suppressed, detected],
        [low_score, detected],
        [suppressed, low_score],
        [low_score, low_score],
    ]


def test_a_box_without_area_is_removed():
    boxes = torch.tensor([[40.0, 5, 40, 9], [3, 4, 9, 9], [3, 40, 9, 40]])  # two without area in 40 x 40 pixels
    scores = torch.tensor([[0.9], [0.8], [0.01]])
    decision = small_single_stage().decide(Candidates(boxes, scores, torch.arange(3), (40, 40)))
    assert decision.selected_indices.tolist() == [1]
    assert decision.fates.tolist() == [[Fate.NO_AREA], [Fate.DETECTED], [Fate.LOW_SCORE]]


def test_limits_of_candidates_and_detections_are_given_as_reasons(monkeypatch):
    monkeypatch.setattr(base, "MAX_CANDIDATES", 3)
    monkeypatch.setattr(base, "MAX_DETECTIONS", 1)
    decision = decision_on_boxes()
    assert len(decision.detections) == 1
    fates = decision.fates.flatten().tolist()
    assert fates.count(Fate.NOT_AMONG_BEST) == 2  # scores 0.6 and 0.3
    assert fates.count(Fate.SUPPRESSED) == 1
    assert fates.count(Fate.OVER_LIMIT) == 1  # score 0.7


def test_an_image_without_candidates_has_no_detections():
    empty = Candidates(torch.zeros(0, 4), torch.zeros(0, 2), torch.zeros(0).long(), (40, 40))
    decision = small_single_stage().decide(empty)
    assert len(decision.detections) == 0
    assert decision.fates.shape == (0, 2)


def test_maps_are_joined_in_the_order_of_maps_rows_columns_and_anchors():
    maps = (torch.arange(2 * 6 * 2 * 3.0).view(2, 6, 2, 3), -torch.arange(2 * 6.0).view(2, 6, 1, 1))
    y = join_maps(maps, 3)  # two anchors in each cell, three numbers each
    assert y.shape == (2, 14, 3)
    assert y[1, 2 * (1 * 3 + 2) + 1].tolist() == maps[0][1, 3:, 1, 2].tolist()  # row 1, column 2, anchor 1
    assert y[0, 12].tolist() == maps[1][0, :3, 0, 0].tolist()
    for result, expected in zip(split_maps(y, maps), maps, strict=True):
        assert torch.equal(result, expected)
