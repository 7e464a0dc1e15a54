"""Adaptive training sample selection: each object has its own threshold of the IoU."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.ops.assign.base import Assignment, Reason, highest, in_crowd, regular
from pellucid.ops.boxes import box_iou, centres


def assign_atss(
    anchors: Tensor, counts: Sequence[int], boxes: Tensor, nearest: int = 9, crowd: Tensor | None = None
) -> Assignment:
    """Assign to each box (m, 4) those of the nearest anchors whose IoU is high among them.

    anchors: (n, 4), those of all maps. counts: the number of anchors of each map, in the same order. On each map the
    `nearest` anchors by the distance of centres are candidates of a box; positive are those whose IoU is at least the
    mean plus the deviation of all its candidates, and whose centre lies inside the box. An anchor of several boxes
    learns the one of its highest IoU. crowd: (m,) bool. Source: Zhang et al. 2020, algorithm 1.
    """
    iou = regular(box_iou(anchors, boxes), crowd)  # (n, m)
    middle = centres(anchors)
    distance = torch.cdist(middle, centres(boxes))  # (n, m)
    candidates, first = [], 0
    for part in distance.split(list(counts)):
        candidates.append(first + part.topk(min(nearest, len(part)), dim=0, largest=False).indices)
        first += len(part)
    index = torch.cat(candidates)  # (k, m)
    overlaps = iou.gather(0, index)
    mean = overlaps.mean(0)  # (m,)
    variance = (overlaps - mean).square().sum(0) / max(len(index) - 1, 1)
    threshold = mean + variance.sqrt()
    low, high = middle[:, None] - boxes[:, :2], boxes[:, 2:] - middle[:, None]  # (n, m, 2)
    inside = (torch.minimum(low, high).amin(2) > 0).gather(0, index)
    enough = overlaps >= threshold
    learnable = torch.ones_like(enough) if crowd is None else ~crowd.expand_as(enough)

    chosen = torch.full_like(iou, -1).scatter(0, index, torch.where(enough & inside & learnable, overlaps, -1))
    value, matched = highest(chosen)
    learned = value > 0
    reason = torch.full_like(matched, Reason.NOT_NEAR)
    reason[index[~enough & learnable]] = Reason.LOW
    reason[index[enough & ~inside & learnable]] = Reason.OFF_CENTRE
    reason[in_crowd(anchors, boxes, crowd)] = Reason.CROWD
    reason[learned] = Reason.NEAR
    return Assignment(torch.where(learned, matched, -1), reason)
