"""Assigners equal their definitions, written as loops, and cases by hand."""

import statistics

import pytest
import torch

from pellucid.ops.anchors import grid_anchors
from pellucid.ops.assign import (
    REASONS,
    Reason,
    assign_atss,
    assign_best_anchor,
    assign_bipartite,
    assign_by_iou,
    assign_grid,
    sample,
)
from tests.ops.boxes import iou, random_boxes

NO_BOXES = torch.zeros(0, 4, dtype=torch.float64)


def square_anchors(stride: int, count: int, *sides: float) -> torch.Tensor:
    middle = stride / 2
    base = torch.tensor([[middle - s / 2, middle - s / 2, middle + s / 2, middle + s / 2] for s in sides]).double()
    return grid_anchors([base], [(count, count)], [stride])


def reason_names(reason: torch.Tensor) -> list[str]:
    return [Reason(code).name for code in reason.tolist()]


def test_every_reason_has_a_description():
    assert set(REASONS) == set(Reason)


def test_thresholds_and_best_anchors_are_those_of_a_loop():
    anchors, boxes = random_boxes(400, seed=3), random_boxes(12, seed=4)
    assignment = assign_by_iou(anchors, boxes, 0.5, 0.3, min_background_iou=0.05, best_per_box=True)
    ious = [[iou(a, b) for b in boxes.tolist()] for a in anchors.tolist()]
    best_of_box = [max(row[k] for row in ious) for k in range(12)]
    seen_reasons = set()
    for row, matched, reason in zip(ious, assignment.matched.tolist(), reason_names(assignment.reason), strict=True):
        max_iou = max(row)
        is_best = any(row[k] == best_of_box[k] > 0 for k in range(12))
        expected = (
            "OVERLAP"
            if max_iou >= 0.5
            else "BEST"
            if is_best
            else "FAR"
            if max_iou < 0.05
            else "BETWEEN"
            if max_iou >= 0.3
            else "BACKGROUND"
        )
        assert reason == expected
        assert matched == (row.index(max_iou) if max_iou >= 0.5 or is_best else -1)
        seen_reasons.add(expected)
    assert seen_reasons == {"OVERLAP", "BEST", "FAR", "BETWEEN", "BACKGROUND"}
    assert torch.equal(assignment.negative, assignment.reason == Reason.BACKGROUND)


def test_a_box_that_overlaps_no_anchor_does_not_tie_with_all():
    anchors = square_anchors(10, 4, 8.0)
    boxes = torch.tensor([[100.0, 100.0, 120.0, 120.0], [3.0, 3.0, 3.0, 3.0]]).double()
    for result in (
        assign_by_iou(anchors, boxes, best_per_box=True),
        assign_bipartite(anchors, boxes),
        assign_atss(anchors, [16], boxes),
    ):
        assert not result.positive.any()


def test_a_box_of_one_pixel_is_assigned_to_its_best_anchor():
    anchors, pixel = square_anchors(10, 4, 8.0, 4.0), torch.tensor([[14.0, 25.0, 15.0, 26.0]]).double()
    for result in (assign_by_iou(anchors, pixel, best_per_box=True), assign_bipartite(anchors, pixel)):
        assert result.positive.nonzero()[:, 0].tolist() == [2 * (2 * 4 + 1) + 1]  # the small anchor of row 2, column 1
        assert reason_names(result.reason[result.positive]) == ["BEST"]


@pytest.mark.parametrize("crowd", [None, torch.zeros(0, dtype=torch.bool)])
def test_without_objects_everything_is_background(crowd: torch.Tensor | None):
    anchors = square_anchors(10, 4, 8.0)
    for result in (
        assign_by_iou(anchors, NO_BOXES, best_per_box=True, crowd=crowd),
        assign_bipartite(anchors, NO_BOXES, crowd=crowd),
        assign_atss(anchors, [16], NO_BOXES, crowd=crowd),
        assign_grid((4, 4), 10, NO_BOXES, crowd=crowd),
        assign_best_anchor(anchors, [torch.tensor([[8.0, 8.0]])], [(4, 4)], [10], NO_BOXES, anchors, crowd=crowd),
    ):
        assert result.matched.tolist() == [-1] * 16
        assert result.negative.all()


def test_anchors_in_crowds_are_ignored():
    anchors = square_anchors(10, 4, 8.0)
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0], [31.0, 31.0, 39.0, 39.0]]).double()
    crowd = torch.tensor([True, False])
    for result in (
        assign_by_iou(anchors, boxes, best_per_box=True, crowd=crowd),
        assign_bipartite(anchors, boxes, crowd=crowd),
        assign_atss(anchors, [16], boxes, crowd=crowd),
        assign_grid((4, 4), 10, boxes, crowd=crowd),
        assign_best_anchor(anchors, [torch.tensor([[8.0, 8.0]])], [(4, 4)], [10], boxes, crowd=crowd),
    ):
        assert (result.reason == Reason.CROWD).nonzero()[:, 0].tolist() == [0, 1, 4, 5]
        assert result.positive.nonzero()[:, 0].tolist() == [15]
        assert result.matched[15] == 1


def test_anchors_beyond_the_image_are_ignored():
    anchors = square_anchors(10, 3, 8.0, 14.0)
    assignment = assign_by_iou(
        anchors, torch.tensor([[-2.0, -2.0, 12.0, 12.0]]).double(), best_per_box=True, size=(30, 28)
    )
    is_outside = (assignment.reason == Reason.OUTSIDE).view(3, 3, 2)
    assert is_outside[:, :, 0].tolist() == [[False, False, True]] * 3  # 21 + 8 > 28
    assert is_outside[:, :, 1].sum() == 8
    assert assignment.positive.nonzero()[:, 0].tolist() == [0]


def test_adaptive_thresholds_are_those_of_a_loop():
    anchors = torch.cat([square_anchors(8, 12, 16.0), square_anchors(16, 6, 32.0), square_anchors(32, 3, 64.0)])
    boxes = torch.tensor(
        [[5, 5, 25, 30], [40, 20, 90, 80], [42, 22, 60, 44], [0, 0, 96, 96], [70.2, 70.2, 71.1, 71.3]]
    ).double()
    assignment = assign_atss(anchors, [144, 36, 9], boxes, nearest=5)
    best_match = [(-1, 0.0)] * len(anchors)
    rows = anchors.tolist()
    for k, box in enumerate(boxes.tolist()):
        candidates = []
        for map_indices in (range(144), range(144, 180), range(180, 189)):
            distances = {i: distance(rows[i], box) for i in map_indices}
            candidates += sorted(map_indices, key=distances.__getitem__)[:5]
        overlaps = [iou(rows[i], box) for i in candidates]
        threshold = statistics.mean(overlaps) + statistics.stdev(overlaps)
        for i, overlap in zip(candidates, overlaps, strict=True):
            x, y = (rows[i][0] + rows[i][2]) / 2, (rows[i][1] + rows[i][3]) / 2
            is_inside = box[0] < x < box[2] and box[1] < y < box[3]
            if overlap >= threshold and is_inside and overlap > best_match[i][1]:
                best_match[i] = (k, overlap)
    assert assignment.matched.tolist() == [k for k, _ in best_match]
    assert {0, 1, 2, 3} <= set(assignment.matched.tolist())
    assert reason_names(assignment.reason[assignment.positive]) == ["NEAR"] * int(assignment.positive.sum())
    assert {"LOW", "OFF_CENTRE", "NOT_NEAR"} <= set(reason_names(assignment.reason[assignment.negative]))


def distance(a: list[float], b: list[float]) -> float:
    return ((a[0] + a[2] - b[0] - b[2]) ** 2 + (a[1] + a[3] - b[1] - b[3]) ** 2) ** 0.5


def test_bipartite_pairs_are_those_of_the_greedy_loop():
    anchors, boxes = random_boxes(200, seed=5), random_boxes(15, seed=6)
    boxes = torch.cat([boxes, boxes[:3] + 0.01])  # pairs of boxes with the same best anchor
    assignment = assign_bipartite(anchors, boxes, threshold=0.4)
    ious = {(i, k): iou(a, b) for i, a in enumerate(anchors.tolist()) for k, b in enumerate(boxes.tolist())}
    exclusive = {}
    remaining = dict(ious)
    while remaining and max(remaining.values()) > 0:
        i, k = max(remaining, key=remaining.__getitem__)
        exclusive[i] = k
        remaining = {pair: value for pair, value in remaining.items() if pair[0] != i and pair[1] != k}
    for i in range(len(anchors)):
        row = [ious[i, k] for k in range(len(boxes))]
        expected = exclusive.get(i, row.index(max(row)) if max(row) >= 0.4 else -1)
        assert assignment.matched[i] == expected
        assert Reason(int(assignment.reason[i])).name == (
            "BEST" if i in exclusive else "OVERLAP" if expected >= 0 else "BACKGROUND"
        )
    assert len(exclusive) == 18


def test_many_equal_boxes_each_get_an_anchor():
    anchors = square_anchors(4, 8, 8.0)
    assignment = assign_bipartite(anchors, torch.tensor([[8.0, 8.0, 16.0, 16.0]]).double().repeat(9, 1))
    assert sorted(assignment.matched[assignment.reason == Reason.BEST].tolist()) == list(range(9))


def test_a_cell_is_assigned_the_first_box_with_its_centre_inside():
    boxes = torch.tensor(
        [[12.0, 2.0, 16.0, 8.0], [11.0, 1.0, 15.0, 9.0], [0.0, 0.0, 40.0, 30.0], [39.0, 29.0, 41.0, 31.0]]
    )
    assignment = assign_grid((3, 4), 10, boxes)
    assert assignment.matched.tolist() == [-1, 0, -1, -1, -1, -1, 2, -1, -1, -1, -1, 3]
    assert reason_names(assignment.reason)[1] == "CELL"


def test_the_best_anchor_is_that_of_the_most_similar_shape():
    shapes = [torch.tensor([[10.0, 10.0], [20.0, 10.0]]), torch.tensor([[40.0, 40.0]])]
    bases = [
        torch.tensor([[0.0, 0.0, 10.0, 10.0], [-5.0, 0.0, 15.0, 10.0]]),
        torch.tensor([[-10.0, -10.0, 30.0, 30.0]]),
    ]
    sizes, strides = [(4, 4), (2, 2)], [10, 20]
    anchors = grid_anchors(bases, sizes, strides)
    boxes = torch.tensor(
        [[12.0, 22.0, 22.0, 31.0], [0.0, 0.0, 19.0, 9.0], [1.0, 2.0, 39.0, 39.0], [13.0, 23.0, 21.0, 31.0]]
    )
    predicted = anchors.clone()
    predicted[3] = torch.tensor([0.0, 0.0, 19.0, 8.0])  # IoU 8/9 with the second box
    assignment = assign_best_anchor(anchors, shapes, sizes, strides, boxes, predicted, 0.85)
    # Box 0: square, cell (2, 1). Box 1: wide, cell (0, 0). Box 2: large, cell (1, 1) of the second map (from index 32).
    # Box 3: its best anchor is already assigned to box 0.
    assert {i: k for i, k in enumerate(assignment.matched.tolist()) if k >= 0} == {2 * 9: 0, 1: 1, 35: 2}
    assert reason_names(assignment.reason[[18, 1, 35]]) == ["SHAPE"] * 3
    assert (assignment.reason == Reason.PREDICTED).nonzero()[:, 0].tolist() == [3]


def test_samples_have_at_most_the_given_fraction_of_positives():
    anchors, boxes = random_boxes(500, seed=3), random_boxes(12, seed=4)
    assignment = assign_by_iou(anchors, boxes, 0.3, 0.3)
    n_positive = int(assignment.positive.sum())
    assert 10 < n_positive < 200
    positive, negative = sample(assignment, 16, 0.5, torch.Generator().manual_seed(0))
    assert (len(positive), len(negative)) == (8, 8)
    assert assignment.positive[positive].all()
    assert assignment.negative[negative].all()
    assert len(set(positive.tolist())) == len(set(negative.tolist())) == 8
    positive, negative = sample(assignment, 400, 0.5, torch.Generator().manual_seed(0))
    assert (len(positive), len(negative)) == (n_positive, min(400 - n_positive, 500 - n_positive))
