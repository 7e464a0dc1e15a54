"""Non-maximum suppression equals a double loop."""

from typing import Any

import pytest
import torch

from pellucid.ops.boxes import box_iou
from pellucid.ops.nms import batched_nms, nms, suppressors
from tests.ops.boxes import iou, random_boxes


def greedy_nms(boxes: Any, scores: Any, threshold: float) -> list[int]:
    """Return the kept indices of greedy NMS: keep the best box, drop the boxes that overlap it, and repeat."""
    rows, values = boxes.tolist(), scores.tolist()
    remaining = sorted(range(len(rows)), key=lambda i: -values[i])
    kept_indices = []
    while remaining:
        best, *remaining = remaining
        kept_indices.append(best)
        remaining = [i for i in remaining if iou(rows[best], rows[i]) <= threshold]
    return kept_indices


def tied_scores(count: int) -> torch.Tensor:
    """Return scores with many ties."""
    return torch.randint(0, 40, (count,), generator=torch.Generator().manual_seed(1)).double() / 40


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("size", [30.0, 300.0])
def test_kept_boxes_are_those_of_the_greedy_loop(threshold: float, size: float):
    boxes, scores = random_boxes(300, size=size), tied_scores(300)
    assert nms(boxes, scores, threshold).tolist() == greedy_nms(boxes, scores, threshold)


@pytest.mark.parametrize(("size", "threshold"), [(60.0, 0.5), (600.0, 0.1)])
def test_the_first_boxes_suppress_later_ones(size: float, threshold: float):
    boxes, scores = random_boxes(1300, size=size), torch.rand(1300, generator=torch.Generator().manual_seed(3))
    order = scores.argsort(descending=True)
    overlap, kept = box_iou(boxes, boxes) > threshold, []
    for index in order.tolist():
        if not overlap[index, kept].any():
            kept.append(index)
    assert nms(boxes, scores, threshold).tolist() == kept
    labels = torch.arange(1300) % 2
    expected = torch.cat(
        [(labels == c).nonzero()[:, 0][nms(boxes[labels == c], scores[labels == c], threshold)] for c in (0, 1)]
    )
    assert sorted(batched_nms(boxes, scores, labels, threshold).tolist()) == sorted(expected.tolist())


@pytest.mark.parametrize("step", [1.0, 3.0, 4.5])
def test_a_chain_of_overlapping_boxes_is_suppressed_as_by_the_greedy_loop(step: float):
    left = step * torch.arange(200.0, dtype=torch.float64)
    boxes = torch.stack([left, 0 * left, left + 10, 0 * left + 10], 1)
    scores = torch.linspace(1, 0.1, 200, dtype=torch.float64)
    assert nms(boxes, scores, 0.35).tolist() == greedy_nms(boxes, scores, 0.35)


def test_boxes_of_different_labels_do_not_suppress_each_other():
    boxes, scores = random_boxes(300, size=50.0), tied_scores(300)
    labels = torch.arange(300) % 3
    kept = batched_nms(boxes, scores, labels, 0.3)
    expected = {
        int(i[k])
        for c in range(3)
        for i in [(labels == c).nonzero()[:, 0]]
        for k in greedy_nms(boxes[i], scores[i], 0.3)
    }
    assert set(kept.tolist()) == expected
    assert scores[kept].tolist() == sorted(scores[kept].tolist(), reverse=True)
    suppressor = suppressors(boxes, kept, 0.3, labels)
    assert all((suppressor[i] < 0) == (i in expected) for i in range(300))
    assert all(labels[suppressor[i]] == labels[i] for i in range(300) if suppressor[i] >= 0)


def test_an_iou_equal_to_the_threshold_suppresses_nothing():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.9]])  # 1/2, then 0.9 and 0.45
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 1]
    assert suppressors(boxes, torch.tensor([0, 1]), 0.5).tolist() == [-1, -1, 1]


def test_boxes_that_none_of_the_first_kept_ones_overlaps_have_no_suppressor() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60], [50, 50, 60, 59]])
    assert suppressors(boxes, torch.tensor([0, 2]), 0.5).tolist() == [-1, 0, -1, 2]
    assert suppressors(boxes, torch.tensor([0]), 0.5).tolist() == [-1, 0, -1, -1]


def test_boxes_without_area_and_empty_inputs_are_accepted():
    points = torch.zeros(3, 4)
    assert nms(points, torch.tensor([0.1, 0.3, 0.2]), 0.5).tolist() == [1, 2, 0]
    assert nms(points[:0], torch.zeros(0), 0.5).tolist() == []
    assert batched_nms(points[:0], torch.zeros(0), torch.zeros(0).long(), 0.5).tolist() == []
    assert suppressors(points[:0], torch.zeros(0).long(), 0.5).tolist() == []


def test_a_suppressor_is_the_first_kept_box_that_overlaps():
    boxes, scores = random_boxes(200, size=30.0), tied_scores(200)
    kept = nms(boxes, scores, 0.4)
    rows, suppressor = boxes.tolist(), suppressors(boxes, kept, 0.4).tolist()
    for i in range(200):
        overlapping = [k for k in kept.tolist() if iou(rows[k], rows[i]) > 0.4]
        assert suppressor[i] == (-1 if i in kept.tolist() else overlapping[0])
