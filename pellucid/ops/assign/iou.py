"""Assignment by thresholds of the IoU, as in R-CNN, Fast and Faster R-CNN."""

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
    """Assign anchors (n, 4) to the box (m, 4) with which their IoU is highest, if it is at least `positive`.

    Below `negative` they are background, in between ignored, and so are those below `floor`. With `best`, the anchors
    of each box's highest IoU are positive as well, ties included, unless that IoU is 0. With `size`, the (H, W) of the
    image, anchors that extend beyond it are ignored. crowd: (m,) bool.
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
    learned = value >= positive
    if best and iou.numel():
        is_best = ((iou == iou.amax(0)) & (iou > 0)).any(1)
        reason[is_best] = Reason.BEST
        learned = learned | is_best
    reason[value >= positive] = Reason.OVERLAP
    reason[outside] = Reason.OUTSIDE
    return Assignment(torch.where(learned, matched, -1), reason)
