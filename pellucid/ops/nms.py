"""Non-maximum suppression: among overlapping boxes, keep the one with the highest score."""

import torch
from torch import Tensor

from pellucid.ops.boxes import area, intersection

_BAND_SIZE = 128  # boxes that are compared with their neighbours at a time; temporary tensors fit into the CPU's cache
_MAX_ROUNDS = 16  # rounds of vectorized suppression, before the remaining boxes are decided one by one
_N_DECIDED_FIRST = 1000  # number of boxes with the highest scores that are decided before the others


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Return the indices of the kept boxes, in the order of descending scores.

    boxes: (n, 4). scores: (n,); equal scores keep their order. In the order of descending scores, each kept
    box suppresses all later boxes whose IoU with it is above the threshold. Source: Girshick et al. 2014, section 2.1.
    """
    return _kept_indices(boxes, scores, threshold, None)


def batched_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Return the indices of the kept boxes, by descending scores, if only boxes with equal labels suppress each other.

    labels: (n,), for example classes, images or pyramid levels. For the other arguments see `nms`.
    """
    return _kept_indices(boxes, scores, threshold, labels)


def suppressors(boxes: Tensor, kept_indices: Tensor, threshold: float, labels: Tensor | None = None) -> Tensor:
    """Return for each box the index of the kept box that suppressed it: (n,), -1 for boxes that were kept.

    kept_indices: the result of `nms` or, with `labels`, of `batched_nms` for the same boxes and threshold. If the end
    of this result is missing, the value is also -1 for boxes that only the missing boxes suppressed.
    """
    is_overlapping = _is_overlapping(boxes[kept_indices], boxes, threshold)  # (k, n)
    if labels is not None:
        is_overlapping &= labels[kept_indices][:, None] == labels
    if not len(kept_indices):
        return kept_indices.new_full((len(boxes),), -1)
    first_suppressor = torch.where(is_overlapping.any(0), kept_indices[is_overlapping.byte().argmax(0)], -1)
    first_suppressor[kept_indices] = -1
    return first_suppressor


def _kept_indices(boxes: Tensor, scores: Tensor, threshold: float, labels: Tensor | None) -> Tensor:
    """Return the indices of the kept boxes, in the order of descending scores.

    The _N_DECIDED_FIRST boxes with the highest scores are decided first, and all other boxes that they suppress are
    removed; then the remaining boxes are decided. This is faster because, if many boxes overlap, the first boxes
    suppress most of the others.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, labels = boxes[order], None if labels is None else labels[order]
    first_kept = _unsuppressed_indices(
        boxes[:_N_DECIDED_FIRST], threshold, None if labels is None else labels[:_N_DECIDED_FIRST]
    )
    remaining = torch.arange(len(boxes), device=boxes.device)[_N_DECIDED_FIRST:]
    if len(remaining):
        suppressed_pairs = _overlapping_pairs(boxes[first_kept], boxes[remaining], threshold)
        if labels is not None:
            selected, suppressed = suppressed_pairs
            suppressed_pairs = suppressed_pairs[:, labels[first_kept[selected]] == labels[remaining[suppressed]]]
        is_remaining = torch.ones_like(remaining, dtype=torch.bool)
        is_remaining[suppressed_pairs[1]] = False
        remaining = remaining[is_remaining]
        remaining = remaining[
            _unsuppressed_indices(boxes[remaining], threshold, None if labels is None else labels[remaining])
        ]
    return order[torch.cat([first_kept, remaining])]


def _unsuppressed_indices(boxes: Tensor, threshold: float, labels: Tensor | None) -> Tensor:
    """Return the indices of the kept boxes among boxes (n, 4), which are in the order of descending scores.

    In each round, boxes that no remaining box suppresses are kept, and the boxes that they suppress are removed with
    their pairs. A round decides at least the first undecided box; in practice, a few rounds decide all boxes. Boxes
    that remain undecided, such as a chain in which each box overlaps the next, are decided one by one.
    """
    pairs = _overlapping_pairs(boxes, None, threshold)
    if labels is not None:
        pairs = pairs[:, labels[pairs[0]] == labels[pairs[1]]]
    higher = pairs.amin(0)
    lower = pairs.amax(0)
    is_alive = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    for _ in range(_MAX_ROUNDS):
        if not len(higher):
            break
        is_kept = is_alive.clone()
        is_kept[lower] = False
        is_alive[lower[is_kept[higher]]] = False
        is_undecided = is_alive[higher] & is_alive[lower]
        higher = higher[is_undecided]
        lower = lower[is_undecided]
    if len(higher):
        order = higher.argsort()
        alive_list = is_alive.tolist()
        for first, second in zip(higher[order].tolist(), lower[order].tolist(), strict=True):
            # The pairs are sorted by `first`, so its state is final here.
            alive_list[second] = alive_list[second] and not alive_list[first]
        is_alive = is_alive.new_tensor(alive_list)
    return is_alive.nonzero()[:, 0]


def _overlapping_pairs(boxes: Tensor, other_boxes: Tensor | None, threshold: float) -> Tensor:
    """Return index pairs (2, p) into `boxes` (n, 4) and `other_boxes` (m, 4) whose IoU is above the threshold.

    Without `other_boxes`, each pair within `boxes` is returned once. If the left sides of two boxes are d apart, their
    IoU is at most (w - d) / w, where w is the width of the left box. Both sets are sorted by x0, so each band of boxes
    must only be compared with a short range of other boxes.
    """
    order = boxes[:, 0].argsort()
    boxes = boxes[order]
    is_same_set = other_boxes is None
    other_order = order if other_boxes is None else other_boxes[:, 0].argsort()
    other_boxes = boxes if other_boxes is None else other_boxes[other_order]
    x0 = other_boxes[:, 0].contiguous()
    max_distance = 1.01 - threshold  # in widths of the left box; includes a margin of 0.01 for rounding errors
    starts = torch.arange(0, len(boxes), _BAND_SIZE, device=boxes.device)
    max_x0 = (boxes[:, 0] + max_distance * (boxes[:, 2] - boxes[:, 0])).cummax(0).values
    ends = torch.searchsorted(x0, max_x0[(starts + _BAND_SIZE - 1).clamp_max(len(boxes) - 1)], right=True)
    first_others = starts
    if not is_same_set and len(other_boxes):
        max_width = (other_boxes[:, 2] - other_boxes[:, 0]).amax()
        first_others = torch.searchsorted(x0, boxes[starts, 0] - max_distance * max_width)
    pairs = [order.new_zeros(2, 0)]
    for start, first, end in torch.stack([starts, first_others, ends], 1).tolist():
        row, column = _is_overlapping(boxes[start : start + _BAND_SIZE], other_boxes[first:end], threshold).nonzero().T
        if is_same_set:
            row, column = row[row < column], column[row < column]
        pairs.append(torch.stack([order[row + start], other_order[column + first]]))
    return torch.cat(pairs, 1)


def _is_overlapping(boxes: Tensor, other_boxes: Tensor, threshold: float) -> Tensor:
    """Return whether the IoU of boxes (n, 4) and other_boxes (m, 4) is above the threshold: (n, m) bool."""
    common = intersection(boxes, other_boxes)
    union = area(boxes)[:, None] + area(other_boxes)
    return common > union.sub_(common).mul_(threshold)
