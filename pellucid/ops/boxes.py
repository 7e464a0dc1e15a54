"""Functions of boxes (x0, y0, x1, y1) in continuous coordinates, in which the width is x1 - x0."""

import torch
from torch import Tensor

_MIN_DIVISOR = 1e-12  # minimum of divisors, so the result for boxes without an area is 0 instead of NaN


def area(boxes: Tensor) -> Tensor:
    """Return the areas (n,) of boxes (n, 4)."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


def centres(boxes: Tensor) -> Tensor:
    """Return the centres (n, 2) of boxes (n, 4), as x and y."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return boxes (n, 4) clipped to an image of `size` (H, W)."""
    height, width = size
    upper = boxes.new_tensor([width, height, width, height])
    return boxes.clamp_min(0).minimum(upper)


def intersection(boxes: Tensor, other_boxes: Tensor) -> Tensor:
    """Return the areas (n, m) of the intersections of boxes (n, 4) and other_boxes (m, 4)."""
    x0, y0, x1, y1 = boxes.T[:, :, None]  # (n, 1) each
    width = x1.minimum(other_boxes[:, 2]).sub_(x0.maximum(other_boxes[:, 0])).clamp_min_(0)
    height = y1.minimum(other_boxes[:, 3]).sub_(y0.maximum(other_boxes[:, 1])).clamp_min_(0)
    return width.mul_(height)


def box_iou(boxes: Tensor, other_boxes: Tensor) -> Tensor:
    """Return the intersection over union of boxes (n, 4) and other_boxes (m, 4): (n, m), 0 if both areas are 0."""
    common = intersection(boxes, other_boxes)
    union = area(boxes)[:, None] + area(other_boxes) - common
    return (common / union).nan_to_num(0.0)


def coverage(boxes: Tensor, regions: Tensor) -> Tensor:
    """Return the fraction (n, m) of the area of each box (n, 4) in each region (m, 4), 0 for a box without an area.

    COCO's evaluation uses this fraction instead of the IoU if the region is a crowd.
    """
    return intersection(boxes, regions) / area(boxes)[:, None].clamp_min(_MIN_DIVISOR)


def paired_iou(boxes: Tensor, other_boxes: Tensor) -> Tensor:
    """Return the intersection over union (n,) of each pair of boxes (n, 4) and other_boxes (n, 4)."""
    return _paired_iou(boxes, other_boxes)[0]


def paired_giou(boxes: Tensor, other_boxes: Tensor) -> Tensor:
    """Return the generalized IoU (n,) of each pair of boxes (n, 4): from -1 (far apart) to 1 (equal).

    GIoU = IoU - (hull - union) / hull, where `hull` is the area of the smallest box around both.
    Source: Rezatofighi et al. 2019, algorithm 1.
    """
    iou, union = _paired_iou(boxes, other_boxes)
    hull = _hull(boxes, other_boxes).prod(1)
    return iou - (hull - union) / hull.clamp_min(_MIN_DIVISOR)


def _paired_iou(boxes: Tensor, other_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the IoU and the area of the union of each pair of boxes, (n,) each."""
    common = (boxes[:, 2:].minimum(other_boxes[:, 2:]) - boxes[:, :2].maximum(other_boxes[:, :2])).clamp_min(0).prod(1)
    union = area(boxes) + area(other_boxes) - common
    return common / union.clamp_min(_MIN_DIVISOR), union


def _hull(boxes: Tensor, other_boxes: Tensor) -> Tensor:
    """Return width and height (n, 2) of the smallest box around each pair of boxes."""
    return torch.maximum(boxes[:, 2:], other_boxes[:, 2:]) - torch.minimum(boxes[:, :2], other_boxes[:, :2])
