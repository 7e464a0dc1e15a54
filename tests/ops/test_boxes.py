"""Intersection over union of boxes, beside counted pixels."""

import torch

from pellucid.ops.boxes import box_iou


def pixels(box: torch.Tensor) -> torch.Tensor:
    """Draw a box of whole coordinates as a mask of pixels."""
    mask = torch.zeros(12, 12, dtype=torch.bool)
    x0, y0, x1, y1 = box.int().tolist()
    mask[y0:y1, x0:x1] = True
    return mask


def test_iou_of_boxes_is_that_of_their_pixels():
    rng = torch.Generator().manual_seed(0)
    first, second = (torch.randint(0, 12, (20, 4), generator=rng).double() for _ in range(2))
    first, second = (torch.cat([b[:, :2].minimum(b[:, 2:]), b[:, :2].maximum(b[:, 2:])], 1) for b in (first, second))
    counted = [
        [int((pixels(a) & pixels(b)).sum()) / max(int((pixels(a) | pixels(b)).sum()), 1) for b in second] for a in first
    ]
    assert box_iou(first, second).tolist() == counted
    assert box_iou(first[:0], second).shape == (0, 20)
