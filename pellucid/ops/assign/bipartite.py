"""Assignment of SSD: every object gets one prior exclusively, and all priors with a high IoU."""

import torch
from torch import Tensor

from pellucid.ops.assign.base import Assignment, Reason, highest, in_crowd, regular
from pellucid.ops.boxes import box_iou


def assign_bipartite(anchors: Tensor, boxes: Tensor, threshold: float = 0.5, crowd: Tensor | None = None) -> Assignment:
    """Assign to each box (m, 4) one prior exclusively, and all other priors (n, 4) to the box of their highest IoU.

    The exclusive pairs are found greedily: the pair with the highest IoU first, then the highest without its prior and
    box, and so on; a box whose IoU with all remaining priors is 0 gets none. The other priors are positive if their IoU
    is at least the threshold, else background. crowd: (m,) bool. Source: Liu et al. 2016, section 2.2.
    """
    iou = regular(box_iou(anchors, boxes), crowd)  # (n, m)
    value, matched = highest(iou)
    exclusive = _pairs(iou)  # (m,)
    paired = (exclusive >= 0).nonzero()[:, 0]
    positive = value >= threshold
    reason = torch.full_like(matched, Reason.BACKGROUND)
    reason[in_crowd(anchors, boxes, crowd)] = Reason.CROWD
    reason[positive] = Reason.OVERLAP
    reason[exclusive[paired]] = Reason.BEST
    matched = torch.where(positive, matched, -1)
    matched[exclusive[paired]] = paired
    return Assignment(matched, reason)


def _pairs(iou: Tensor) -> Tensor:
    """Return the prior (m,) that is exclusive to each box, -1 for none.

    A prior and a box that have their highest IoU with each other are a greedy pair, so each round finds several pairs.
    """
    remaining = iou.clone()
    exclusive = torch.full((iou.shape[1],), -1, dtype=torch.long, device=iou.device)
    boxes = torch.arange(iou.shape[1], device=iou.device)
    while remaining.numel() and bool((remaining > 0).any()):
        value, prior = remaining.max(0)  # (m,)
        mutual = (remaining[prior].argmax(1) == boxes) & (value > 0)
        exclusive[mutual] = prior[mutual]
        remaining[prior[mutual]] = 0
        remaining[:, mutual] = 0
    return exclusive
