"""Boxes (x0, y0, x1, y1) in continuous coordinates: the width is x1 - x0."""

from torch import Tensor


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of boxes (n, 4) and others (m, 4): (n, m), 0 where neither has an area."""
    low = boxes[:, None, :2].maximum(others[:, :2])  # (n, m, 2)
    high = boxes[:, None, 2:].minimum(others[:, 2:])
    common = (high - low).clamp_min(0).prod(2)
    area, other_area = ((b[:, 2:] - b[:, :2]).prod(1) for b in (boxes, others))
    union = area[:, None] + other_area - common
    return (common / union).nan_to_num(0.0)  # 0 / 0 where both areas are 0
