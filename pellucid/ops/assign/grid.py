"""Assignment of YOLO v1: each object is assigned to the cell that contains its centre."""

import torch
from torch import Tensor

from pellucid.ops.assign.base import Assignment, Reason, in_crowd
from pellucid.ops.boxes import centres


def cells(boxes: Tensor, size: tuple[int, int], stride: float) -> Tensor:
    """Return the index (m,) of the cell that contains each box's centre, row by row in a grid of `size` (H, W)."""
    x, y = (centres(boxes) / stride).long().T
    return y.clamp(0, size[0] - 1) * size[1] + x.clamp(0, size[1] - 1)


def assign_grid(size: tuple[int, int], stride: float, boxes: Tensor, crowd: Tensor | None = None) -> Assignment:
    """Assign to each cell of a grid of `size` (H, W) the first of the boxes (m, 4) whose centre it contains.

    stride: width and height of a cell in pixels. The cells are ordered row by row. crowd: (m,) bool; a cell without a
    centre is ignored if at least half of it is in a crowd. Source: Redmon et al. 2016, section 2.
    """
    height, width = size
    index = torch.arange(len(boxes), device=boxes.device)
    cell = cells(boxes, size, stride)
    if crowd is not None:
        index, cell = index[~crowd], cell[~crowd]
    matched = torch.full((height * width,), len(boxes), dtype=torch.long, device=boxes.device)
    matched = matched.scatter_reduce(0, cell, index, "amin")
    matched = torch.where(matched == len(boxes), -1, matched)
    position = torch.arange(height * width, device=boxes.device)
    corner = torch.stack([position % width, position // width], 1).to(boxes.dtype) * stride
    reason = torch.full_like(matched, Reason.EMPTY_CELL)
    reason[in_crowd(torch.cat([corner, corner + stride], 1), boxes, crowd)] = Reason.CROWD
    reason[matched >= 0] = Reason.CELL
    return Assignment(matched, reason)
