"""Assignment of objects to anchors for training, with a reason for each anchor, and the sampling of anchors."""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.ops.boxes import box_iou, centres, coverage

_MIN_CROWD_COVERAGE = 0.5  # anchors with at least this fraction of their area in a crowd are ignored


class Reason(IntEnum):
    """Why an anchor is positive, negative or ignored; `REASONS` contains a description of each reason."""

    BACKGROUND = 0
    BEST = 1
    OVERLAP = 2
    BETWEEN = 3
    FAR = 4
    CROWD = 5
    OUTSIDE = 6
    CELL = 7
    SHAPE = 8
    NEAR = 9
    LOW = 10
    OFF_CENTRE = 11
    PREDICTED = 12
    NOT_NEAR = 13
    EMPTY_CELL = 14
    OTHER_ANCHOR = 15


REASONS: dict[int, str] = {
    Reason.BACKGROUND: "background: its IoU with every object is below the threshold",
    Reason.BEST: "positive: no anchor has a higher IoU with this object",
    Reason.OVERLAP: "positive: its IoU with this object is at or above the threshold",
    Reason.BETWEEN: "ignored: its highest IoU is between the thresholds of background and object",
    Reason.FAR: "ignored: its highest IoU is too low even for a background example",
    Reason.CROWD: "ignored: at least half of its area is in a crowd",
    Reason.OUTSIDE: "ignored: it extends beyond the image",
    Reason.CELL: "positive: its cell contains the centre of this object",
    Reason.SHAPE: "positive: its shape fits this object best of all anchor shapes, and its cell contains the centre",
    Reason.NEAR: "positive: one of the nearest, and its IoU is at or above this object's mean plus standard deviation",
    Reason.LOW: "background: one of the nearest to an object, but its IoU is below mean plus standard deviation there",
    Reason.OFF_CENTRE: "background: one of the nearest to an object, but its centre is outside the object",
    Reason.PREDICTED: "ignored: the box predicted from it overlaps an object",
    Reason.NOT_NEAR: "background: it is not one of the nearest anchors of any object",
    Reason.EMPTY_CELL: "background: its cell does not contain the centre of any object",
    Reason.OTHER_ANCHOR: "background: it is not the anchor of the most similar shape at the centre of an object",
}
_NEGATIVE_REASONS = (
    Reason.BACKGROUND,
    Reason.LOW,
    Reason.OFF_CENTRE,
    Reason.NOT_NEAR,
    Reason.EMPTY_CELL,
    Reason.OTHER_ANCHOR,
)


class Assignment(NamedTuple):
    """Training targets of n anchors; each anchor is assigned an object or background, or is ignored."""

    matched: Tensor  # (n,) int64, the index of the object, -1 for background and ignored anchors
    reason: Tensor  # (n,) int64, values of `Reason`

    @property
    def positive(self) -> Tensor:
        """Whether each anchor is matched to an object: (n,) bool."""
        return self.matched >= 0

    @property
    def negative(self) -> Tensor:
        """Whether each anchor is background: (n,) bool."""
        return torch.isin(self.reason, self.reason.new_tensor(_NEGATIVE_REASONS))


def sample(assignment: Assignment, count: int, fraction: float, rng: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Draw at most `count` anchors, at most `fraction` of them positive; return indices (positive, negative).

    If there are fewer positive anchors, more negative ones are drawn. Source: Ren et al. 2015, section 3.1.3.
    """
    positive, negative = (_shuffled_indices(mask, rng) for mask in (assignment.positive, assignment.negative))
    positive = positive[: int(count * fraction)]
    return positive, negative[: count - len(positive)]


def highest_iou(iou: Tensor) -> tuple[Tensor, Tensor]:
    """Return the highest IoU in each row of `iou` (n, m), and its column, (n,) each; zeros if there are no columns."""
    if not iou.shape[1]:
        return iou.new_zeros(len(iou)), torch.zeros(len(iou), dtype=torch.long, device=iou.device)
    max_iou, column = iou.max(1)
    return max_iou, column


def without_crowds(iou: Tensor, crowd: Tensor | None) -> Tensor:
    """Return the IoU (n, m), set to 0 in the columns of crowds, which are not matched to anchors.

    crowd: (m,) bool, or None if there are no crowds.
    """
    return iou if crowd is None else iou.masked_fill(crowd.to(iou.device), 0)


def in_crowd(anchors: Tensor, boxes: Tensor, crowd: Tensor | None) -> Tensor:
    """Return whether at least half of each anchor's area is in one of the crowds: (n,) bool."""
    if crowd is None:
        return torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
    return (coverage(anchors, boxes[crowd]) >= _MIN_CROWD_COVERAGE).any(1)


def _shuffled_indices(mask: Tensor, rng: torch.Generator | None) -> Tensor:
    index = mask.nonzero()[:, 0]
    return index[torch.randperm(len(index), generator=rng, device=index.device)]


def assign_by_iou(
    anchors: Tensor,
    boxes: Tensor,
    positive: float = 0.7,
    negative: float = 0.3,
    min_background_iou: float = 0.0,
    best_per_box: bool = False,
    size: tuple[int, int] | None = None,
    crowd: Tensor | None = None,
) -> Assignment:
    """Assign to each anchor (n, 4) the box (m, 4) with which it has its highest IoU, if this is at least `positive`.

    Anchors whose highest IoU is from `min_background_iou` to `negative` are background; the remaining ones are ignored.
    best_per_box: whether the anchors that have the highest IoU with a box, ties included, are also positive unless this
    IoU is 0. size: (H, W) of the image; anchors that extend beyond it are ignored. crowd: (m,) bool, the boxes that are
    crowds.
    Sources: Girshick 2015, section 2.3; Ren et al. 2015, section 3.1.2.
    """
    iou = without_crowds(box_iou(anchors, boxes), crowd)  # (n, m)
    is_outside = torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
    if size is not None:
        is_outside = (anchors[:, :2] < 0).any(1) | (anchors[:, 2:] > anchors.new_tensor(size).flip(0)).any(1)
        iou = iou.masked_fill(is_outside[:, None], 0)
    max_iou, matched = highest_iou(iou)
    reason = torch.full_like(matched, Reason.BACKGROUND)
    reason[max_iou >= negative] = Reason.BETWEEN
    reason[max_iou < min_background_iou] = Reason.FAR
    reason[in_crowd(anchors, boxes, crowd)] = Reason.CROWD
    is_positive = max_iou >= positive
    if best_per_box and iou.numel():
        is_best = ((iou == iou.amax(0)) & (iou > 0)).any(1)
        reason[is_best] = Reason.BEST
        is_positive = is_positive | is_best
    reason[max_iou >= positive] = Reason.OVERLAP
    reason[is_outside] = Reason.OUTSIDE
    return Assignment(torch.where(is_positive, matched, -1), reason)


def assign_atss(
    anchors: Tensor, counts: Sequence[int], boxes: Tensor, nearest: int = 9, crowd: Tensor | None = None
) -> Assignment:
    """Assign each box (m, 4) to nearby anchors that have a high IoU with it.

    anchors: (n, 4), the anchors of all maps. counts: the number of anchors of each map, in the same order. On each map,
    the `nearest` anchors, by distance between centres, are candidates of a box. A candidate is positive if its IoU with
    the box is at least the mean plus the standard deviation of the IoUs of all candidates of the box, and if its centre
    is inside the box. If an anchor is positive for two or more boxes, the box with the highest IoU is assigned to it.
    crowd: (m,) bool, the boxes that are crowds.
    Source: Zhang et al. 2020, algorithm 1.
    """
    iou = without_crowds(box_iou(anchors, boxes), crowd)  # (n, m)
    anchor_centres = centres(anchors)
    distance = torch.cdist(anchor_centres, centres(boxes))  # (n, m)
    candidates = []
    first_anchor = 0
    for map_distance in distance.split(list(counts)):
        candidates.append(
            first_anchor + map_distance.topk(min(nearest, len(map_distance)), dim=0, largest=False).indices
        )
        first_anchor += len(map_distance)
    candidate_indices = torch.cat(candidates)  # (k, m)
    overlaps = iou.gather(0, candidate_indices)
    mean = overlaps.mean(0)  # (m,)
    variance = (overlaps - mean).square().sum(0) / max(len(candidate_indices) - 1, 1)
    threshold = mean + variance.sqrt()
    from_start, to_end = anchor_centres[:, None] - boxes[:, :2], boxes[:, 2:] - anchor_centres[:, None]  # (n, m, 2)
    is_inside = (torch.minimum(from_start, to_end).amin(2) > 0).gather(0, candidate_indices)
    is_high = overlaps >= threshold
    is_not_crowd = torch.ones_like(is_high) if crowd is None else ~crowd.to(iou.device).expand_as(is_high)

    candidate_iou = torch.where(is_high & is_inside & is_not_crowd, overlaps, -1)
    positive_iou = torch.full_like(iou, -1).scatter(0, candidate_indices, candidate_iou)
    max_iou, matched = highest_iou(positive_iou)
    is_positive = max_iou > 0
    reason = torch.full_like(matched, Reason.NOT_NEAR)
    reason[candidate_indices[~is_high & is_not_crowd]] = Reason.LOW
    reason[candidate_indices[is_high & ~is_inside & is_not_crowd]] = Reason.OFF_CENTRE
    reason[in_crowd(anchors, boxes, crowd)] = Reason.CROWD
    reason[is_positive] = Reason.NEAR
    return Assignment(torch.where(is_positive, matched, -1), reason)


def assign_bipartite(anchors: Tensor, boxes: Tensor, threshold: float = 0.5, crowd: Tensor | None = None) -> Assignment:
    """Assign each box (m, 4) to one exclusive prior (n, 4), and to other priors by their highest IoU.

    The exclusive pairs are found greedily: first the pair with the highest IoU, then the pair with the highest IoU
    among the remaining priors and boxes, and so on. A box whose IoU with all remaining priors is 0 has no exclusive
    prior. To every other prior, the box with the highest IoU is assigned if this IoU is at least the threshold;
    otherwise the prior is background. crowd: (m,) bool, the boxes that are crowds. Source: Liu et al. 2016, section
    2.2.
    """
    iou = without_crowds(box_iou(anchors, boxes), crowd)  # (n, m)
    max_iou, matched = highest_iou(iou)
    exclusive_priors = _exclusive_priors(iou)  # (m,)
    paired_boxes = (exclusive_priors >= 0).nonzero()[:, 0]
    is_positive = max_iou >= threshold
    reason = torch.full_like(matched, Reason.BACKGROUND)
    reason[in_crowd(anchors, boxes, crowd)] = Reason.CROWD
    reason[is_positive] = Reason.OVERLAP
    reason[exclusive_priors[paired_boxes]] = Reason.BEST
    matched = torch.where(is_positive, matched, -1)
    matched[exclusive_priors[paired_boxes]] = paired_boxes
    return Assignment(matched, reason)


def _exclusive_priors(iou: Tensor) -> Tensor:
    """Return the index (m,) of the exclusive prior of each box, -1 for none.

    A prior and a box that have their highest IoU with each other are a greedy pair, so one iteration can find many.
    """
    remaining = iou.clone()
    exclusive_priors = torch.full((iou.shape[1],), -1, dtype=torch.long, device=iou.device)
    boxes = torch.arange(iou.shape[1], device=iou.device)
    while remaining.numel() and bool((remaining > 0).any()):
        max_iou, prior = remaining.max(0)  # (m,)
        is_mutual = (remaining[prior].argmax(1) == boxes) & (max_iou > 0)
        exclusive_priors[is_mutual] = prior[is_mutual]
        remaining[prior[is_mutual]] = 0
        remaining[:, is_mutual] = 0
    return exclusive_priors


def centre_cells(boxes: Tensor, size: tuple[int, int], stride: float) -> Tensor:
    """Return the row-major index (m,) of the cell, in a grid of `size` (H, W), that contains each box's centre."""
    x, y = (centres(boxes) / stride).long().T
    return y.clamp(0, size[0] - 1) * size[1] + x.clamp(0, size[1] - 1)


def assign_grid(size: tuple[int, int], stride: float, boxes: Tensor, crowd: Tensor | None = None) -> Assignment:
    """Assign to each cell of a grid of `size` (H, W) the first of the boxes (m, 4) whose centre is in the cell.

    stride: width and height of a cell in pixels. The cells are ordered row by row. crowd: (m,) bool, the boxes that are
    crowds; a cell without a centre is ignored if at least half of it is in a crowd. Source: Redmon et al. 2016,
    section 2.
    """
    height, width = size
    box_index = torch.arange(len(boxes), device=boxes.device)
    cell = centre_cells(boxes, size, stride)
    if crowd is not None:
        box_index = box_index[~crowd]
        cell = cell[~crowd]
    matched = torch.full((height * width,), len(boxes), dtype=torch.long, device=boxes.device)
    matched = matched.scatter_reduce(0, cell, box_index, "amin")
    matched = torch.where(matched == len(boxes), -1, matched)
    position = torch.arange(height * width, device=boxes.device)
    corner = torch.stack([position % width, position // width], 1).to(boxes.dtype) * stride
    reason = torch.full_like(matched, Reason.EMPTY_CELL)
    reason[in_crowd(torch.cat([corner, corner + stride], 1), boxes, crowd)] = Reason.CROWD
    reason[matched >= 0] = Reason.CELL
    return Assignment(matched, reason)


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
    """Assign each box (m, 4) to the anchor of the most similar shape in the cell that contains the box's centre.

    anchors: (n, 4), in the order of `grid_anchors`. shapes: widths and heights (k, 2) of the anchors of a cell, for
    each map; sizes: (H, W) of each map; strides: pixels per cell of each map. The similarity is the IoU of two boxes
    with the same centre. predicted: (n, 4), boxes predicted from the anchors; an unassigned anchor is ignored if the
    IoU of its predicted box with a box is above the threshold. If two or more boxes have the same anchor, the first box
    is assigned to it. crowd: (m,) bool, the boxes that are crowds.
    Source: Redmon and Farhadi 2018, section 2.1.
    """
    all_shapes = torch.cat(list(shapes)).to(boxes)  # (sum of k, 2)
    shape_boxes = torch.cat([-all_shapes, all_shapes], 1) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    similarity, shape = highest_iou(box_iou(torch.cat([-half, half], 1), shape_boxes))  # (m,)
    anchor_index = torch.empty_like(shape)
    earlier_anchors, earlier_shapes = 0, 0  # numbers of anchors and of shapes on the previous maps
    for map_shapes, size, stride in zip(shapes, sizes, strides, strict=True):
        is_on_map = (shape >= earlier_shapes) & (shape < earlier_shapes + len(map_shapes))
        cell = centre_cells(boxes[is_on_map], size, stride)
        anchor_index[is_on_map] = earlier_anchors + cell * len(map_shapes) + shape[is_on_map] - earlier_shapes
        earlier_anchors += size[0] * size[1] * len(map_shapes)
        earlier_shapes += len(map_shapes)
    is_assignable = similarity > 0
    if crowd is not None:
        is_assignable = is_assignable & ~crowd
    box_index = torch.arange(len(boxes), device=boxes.device)
    matched = torch.full((len(anchors),), len(boxes), dtype=torch.long, device=boxes.device)
    matched = matched.scatter_reduce(0, anchor_index[is_assignable], box_index[is_assignable], "amin")
    matched = torch.where(matched == len(boxes), -1, matched)
    reason = torch.full_like(matched, Reason.OTHER_ANCHOR)
    if predicted is not None:
        reason[highest_iou(without_crowds(box_iou(predicted, boxes), crowd))[0] > threshold] = Reason.PREDICTED
    reason[in_crowd(anchors, boxes, crowd)] = Reason.CROWD
    reason[matched >= 0] = Reason.SHAPE
    return Assignment(matched, reason)
