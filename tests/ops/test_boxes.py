"""Overlaps of boxes equal counts of pixels and closed forms."""

import pytest
import torch

from pellucid.ops.boxes import area, box_iou, centres, clip, coverage, paired_giou


def box_mask(box: torch.Tensor) -> torch.Tensor:
    """Return a box with integer coordinates as a mask of pixels."""
    mask = torch.zeros(12, 12, dtype=torch.bool)
    x0, y0, x1, y1 = box.int().tolist()
    mask[y0:y1, x0:x1] = True
    return mask


def random_integer_boxes() -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    random_sets = (torch.randint(0, 12, (20, 4), generator=rng).double() for _ in range(2))
    return [torch.cat([b[:, :2].minimum(b[:, 2:]), b[:, :2].maximum(b[:, 2:])], 1) for b in random_sets]


def test_iou_of_boxes_is_that_of_their_pixels():
    first, second = random_integer_boxes()
    expected = [
        [int((box_mask(a) & box_mask(b)).sum()) / max(int((box_mask(a) | box_mask(b)).sum()), 1) for b in second]
        for a in first
    ]
    assert box_iou(first, second).tolist() == expected
    assert box_iou(first[:0], second).shape == (0, 20)


def test_coverage_and_area_are_those_of_pixels():
    first, second = random_integer_boxes()
    sizes = [int(box_mask(a).sum()) for a in first]
    assert area(first).tolist() == sizes
    expected = [
        [int((box_mask(a) & box_mask(b)).sum()) / max(size, 1) for b in second]
        for a, size in zip(first, sizes, strict=True)
    ]
    assert coverage(first, second).tolist() == expected


def test_giou_of_two_boxes_equals_that_by_hand():
    box = torch.tensor([[0.0, 0.0, 2.0, 2.0]] * 4)
    other = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0], [4.0, 0.0, 6.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
    # IoU 1, 1/3, 0, 1/4; hulls 4, 6, 12, 4; unions 4, 6, 8, 4.
    assert paired_giou(box, other).tolist() == pytest.approx([1.0, 1 / 3, -4 / 12, 1 / 4])


def test_distances_of_boxes_without_area_are_finite():
    point = torch.zeros(1, 4)
    assert [f(point, point).item() for f in (paired_giou, coverage, box_iou)] == [0.0] * 3


def test_centres_and_clipped_boxes_equal_those_by_hand():
    boxes = torch.tensor([[-2.0, 1.0, 4.0, 9.0], [7.0, 8.0, 9.0, 9.0]])
    assert centres(boxes).tolist() == [[1.0, 5.0], [8.0, 8.5]]
    assert clip(boxes, (5, 6)).tolist() == [[0.0, 1.0, 4.0, 5.0], [6.0, 5.0, 6.0, 5.0]]
