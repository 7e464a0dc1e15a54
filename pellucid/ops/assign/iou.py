"""Assignment by IoU thresholds, as in R-CNN, Fast and Faster R-CNN."""

import torch
from torch import Tensor

from pellucid.ops.assign.base import Assignment, Reason, highest, in_crowd, regular
from pellucid.ops.boxes import box_iou


def assign_by_iou(
    anchors: Tensor,
    boxes: Tensor,
    positive: float = 0.7,
    negative: float = 0.3,
    floor: float = 0.0,
    best: bool = False,
    size: tuple[int, int] | None = None,
    crowd: Tensor | None = None,
) -> Assignment:
    """Assign each anchor (n, 4) to the box (m, 4) of its highest IoU if this is at least `positive`.

    Anchors whose highest IoU is below `negative` are background, between the two thresholds they are ignored, and below
    `floor` they are ignored too. best: whether the anchors with the highest IoU of each box are positive as well, ties
    included, unless that IoU is 0. size: (H, W) of the image, beyond which anchors are ignored. crowd: (m,) bool.
    Sources: Girshick 2015, section 2.3; Ren et al. 2015, section 3.1.2.
    """
    iou = regular(box_iou(anchors, boxes), crowd)  # (n, m)
    outside = torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
    if size is not None:
        outside = (anchors[:, :2] < 0).any(1) | (anchors[:, 2:] > anchors.new_tensor(size).flip(0)).any(1)
        iou = iou.masked_fill(outside[:, None], 0)
    value, matched = highest(iou)
    reason = torch.full_like(matched, Reason.BACKGROUND)
    reason[value >= negative] = Reason.BETWEEN
    reason[value < floor] = Reason.FAR
    reason[in_crowd(anchors, boxes, crowd)] = Reason.CROWD
    is_positive = value >= positive
    if best and iou.numel():
        is_best = ((iou == iou.amax(0)) & (iou > 0)).any(1)
        reason[is_best] = Reason.BEST
        is_positive = is_positive | is_best
    reason[value >= positive] = Reason.OVERLAP
    reason[outside] = Reason.OUTSIDE
    return Assignment(torch.where(is_positive, matched, -1), reason)
