"""Assignment of YOLO v3: the anchor of the most similar shape in the cell that contains the object's centre."""

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
    """Assign to each box (m, 4) one anchor: the most similar shape, in the cell that contains the box's centre.

    anchors: (n, 4), in the order of `grid_anchors`. shapes: widths and heights (k, 2) of the anchors of a cell, for
    each map; sizes: (H, W) of each map. The similarity is the IoU of two boxes with the same centre. predicted:
    (n, 4), boxes predicted from the anchors; unassigned anchors whose prediction has an IoU above the threshold with a
    box are ignored. If several boxes have the same anchor, it gets the first. crowd: (m,) bool.
    Source: Redmon and Farhadi 2018, section 2.1.
    """
    all_shapes = torch.cat(list(shapes)).to(boxes)  # (sum of k, 2)
    shape_boxes = torch.cat([-all_shapes, all_shapes], 1) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    similarity, shape = highest(box_iou(torch.cat([-half, half], 1), shape_boxes))  # (m,)
    index = torch.empty_like(shape)
    earlier_anchors, earlier_shapes = 0, 0  # on earlier maps
    for map_shapes, size, stride in zip(shapes, sizes, strides, strict=True):
        on_map = (shape >= earlier_shapes) & (shape < earlier_shapes + len(map_shapes))
        index[on_map] = (
            earlier_anchors + cells(boxes[on_map], size, stride) * len(map_shapes) + shape[on_map] - earlier_shapes
        )
        earlier_anchors += size[0] * size[1] * len(map_shapes)
        earlier_shapes += len(map_shapes)
    usable = similarity > 0
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
