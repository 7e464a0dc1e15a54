"""Assignment of SSD: every object has a prior of its own, and all priors that overlap it enough."""

import torch
from torch import Tensor

from pellucid.ops.assign.base import Assignment, Reason, highest, in_crowd, regular
from pellucid.ops.boxes import box_iou


def assign_bipartite(anchors: Tensor, boxes: Tensor, threshold: float = 0.5, crowd: Tensor | None = None) -> Assignment:
    """Assign to each box (m, 4) a prior (n, 4) of its own, and the others to the box of their highest IoU.

    The pair with the highest IoU of all is assigned first, then the highest without its prior and box, and so on; a
    box whose IoU with all priors left is 0 has none. The other priors are positive from the threshold on, else
    background. crowd: (m,) bool. Source: Liu et al. 2016, section 2.2.
    """
    iou = regular(box_iou(anchors, boxes), crowd)  # (n, m)
    value, matched = highest(iou)
    own = _pairs(iou)  # (m,)
    claimed = (own >= 0).nonzero()[:, 0]
    learned = value >= threshold
    reason = torch.full_like(matched, Reason.BACKGROUND)
    reason[in_crowd(anchors, boxes, crowd)] = Reason.CROWD
    reason[learned] = Reason.OVERLAP
    reason[own[claimed]] = Reason.BEST
    matched = torch.where(learned, matched, -1)
    matched[own[claimed]] = claimed
    return Assignment(matched, reason)


def _pairs(iou: Tensor) -> Tensor:
    """Return the prior of each box (m,), -1 for none.

    A prior and a box that are each other's highest are a pair of that greedy order, so that each round finds several.
    """
    left = iou.clone()
    own = torch.full((iou.shape[1],), -1, dtype=torch.long, device=iou.device)
    boxes = torch.arange(iou.shape[1], device=iou.device)
    while left.numel() and bool((left > 0).any()):
        value, prior = left.max(0)  # (m,)
        mutual = (left[prior].argmax(1) == boxes) & (value > 0)
        own[mutual] = prior[mutual]
        left[prior[mutual]] = 0
        left[:, mutual] = 0
    return own
