"""Adaptive training sample selection (ATSS): each object has its own IoU threshold."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.ops.assign.base import Assignment, Reason, highest, in_crowd, regular
from pellucid.ops.boxes import box_iou, centres


def assign_atss(
    anchors: Tensor, counts: Sequence[int], boxes: Tensor, nearest: int = 9, crowd: Tensor | None = None
) -> Assignment:
    """Assign to each box (m, 4) the nearby anchors with a high IoU.

    anchors: (n, 4), of all maps. counts: the number of anchors of each map, in the same order. On each map, the
    `nearest` anchors by distance between centres are candidates of a box. A candidate is positive if its IoU is at
    least the mean plus the standard deviation of the IoUs of all candidates of the box, and if its centre is inside the
    box. An anchor that is positive for several boxes gets the one with the highest IoU. crowd: (m,) bool.
    Source: Zhang et al. 2020, algorithm 1.
    """
    iou = regular(box_iou(anchors, boxes), crowd)  # (n, m)
    anchor_centres = centres(anchors)
    distance = torch.cdist(anchor_centres, centres(boxes))  # (n, m)
    candidates, first = [], 0
    for map_distance in distance.split(list(counts)):
        candidates.append(first + map_distance.topk(min(nearest, len(map_distance)), dim=0, largest=False).indices)
        first += len(map_distance)
    index = torch.cat(candidates)  # (k, m)
    overlaps = iou.gather(0, index)
    mean = overlaps.mean(0)  # (m,)
    variance = (overlaps - mean).square().sum(0) / max(len(index) - 1, 1)
    threshold = mean + variance.sqrt()
    low, high = anchor_centres[:, None] - boxes[:, :2], boxes[:, 2:] - anchor_centres[:, None]  # (n, m, 2)
    inside = (torch.minimum(low, high).amin(2) > 0).gather(0, index)
    is_high = overlaps >= threshold
    learnable = torch.ones_like(is_high) if crowd is None else ~crowd.expand_as(is_high)

    chosen = torch.full_like(iou, -1).scatter(0, index, torch.where(is_high & inside & learnable, overlaps, -1))
    value, matched = highest(chosen)
    positive = value > 0
    reason = torch.full_like(matched, Reason.NOT_NEAR)
    reason[index[~is_high & learnable]] = Reason.LOW
    reason[index[is_high & ~inside & learnable]] = Reason.OFF_CENTRE
    reason[in_crowd(anchors, boxes, crowd)] = Reason.CROWD
    reason[positive] = Reason.NEAR
    return Assignment(torch.where(positive, matched, -1), reason)
