"""Assignment of YOLO v3: the anchor of the most similar shape, in the cell that holds an object's centre."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.ops.assign.base import Assignment, Reason, highest, in_crowd, regular
from pellucid.ops.assign.grid import cells
from pellucid.ops.boxes import box_iou


def assign_best_anchor(
    anchors: Tensor,
    shapes: Sequence[Tensor],
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[float],
    boxes: Tensor,
    predicted: Tensor | None = None,
    threshold: float = 0.7,
    crowd: Tensor | None = None,
) -> Assignment:
    """Assign to each box (m, 4) one anchor: of all shapes the most similar, in the cell that holds its centre.

    anchors: (n, 4), in the order of `grid_anchors`. shapes: widths and heights (k, 2) of the anchors of a cell, for
    each map; sizes: (H, W) of each map. The similarity is the IoU of two boxes with one centre. predicted: (n, 4),
    boxes; where their IoU with a box is above the threshold, anchors that learn no box are ignored. Of several boxes
    of one anchor, it learns the first. crowd: (m,) bool. Source: Redmon and Farhadi 2018, section 2.1.
    """
    every = torch.cat(list(shapes)).to(boxes)  # (sum of k, 2)
    around = torch.cat([-every, every], 1) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    similar, shape = highest(box_iou(torch.cat([-half, half], 1), around))  # (m,)
    index = torch.empty_like(shape)
    first, before = 0, 0  # anchors and shapes of earlier maps
    for one, size, stride in zip(shapes, sizes, strides, strict=True):
        here = (shape >= before) & (shape < before + len(one))
        index[here] = first + cells(boxes[here], size, stride) * len(one) + shape[here] - before
        first += size[0] * size[1] * len(one)
        before += len(one)
    usable = similar > 0
    if crowd is not None:
        usable = usable & ~crowd
    order = torch.arange(len(boxes), device=boxes.device)
    matched = torch.full((len(anchors),), len(boxes), dtype=torch.long, device=boxes.device)
    matched = matched.scatter_reduce(0, index[usable], order[usable], "amin")
    matched = torch.where(matched == len(boxes), -1, matched)
    reason = torch.full_like(matched, Reason.OTHER_ANCHOR)
    if predicted is not None:
        reason[highest(regular(box_iou(predicted, boxes), crowd))[0] > threshold] = Reason.PREDICTED
    reason[in_crowd(anchors, boxes, crowd)] = Reason.CROWD
    reason[matched >= 0] = Reason.SHAPE
    return Assignment(matched, reason)
