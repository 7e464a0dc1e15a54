"""Non-maximum suppression: of boxes that overlap, the one with the highest score is kept."""

import torch
from torch import Tensor

from pellucid.ops.boxes import area, box_iou, intersection

_BAND = 128  # number of boxes that are compared with their neighbours at once; their overlaps fit into the cache


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Return the indices of the kept boxes, in the order of descending scores.

    boxes: (n, 4). scores: (n,); equal scores rank in the order given. From the highest score downwards, a box that is
    kept suppresses all later ones whose IoU with it is above the threshold. Source: Girshick et al. 2014, section 2.1.
    """
    return _keep(boxes, scores, threshold, None)


def batched_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Return the indices of the boxes that are kept if only boxes of equal labels (n,) suppress each other.

    The labels are classes, or images, or levels of a pyramid. The order is that of `nms`: of descending scores.
    """
    return _keep(boxes, scores, threshold, labels)


def soft_nms(boxes: Tensor, scores: Tensor, sigma: float = 0.5, minimum: float = 0.001) -> tuple[Tensor, Tensor]:
    """Return indices and new scores, both in the order of descending new scores; lower scores instead of suppression.

    Each chosen box multiplies the scores of those not yet chosen by exp(-IoU^2 / sigma). Boxes whose new score is
    below the minimum are left out. Source: Bodla et al. 2017, equation 3.
    """
    decay = (-box_iou(boxes, boxes).square() / sigma).exp()  # (n, n)
    left = scores.clone()
    chosen, values = [], []
    for _ in range(len(boxes)):  # each choice depends on all choices before it
        value, index = left.max(0)
        if value < minimum:
            break
        chosen.append(index)
        values.append(value)
        left = left * decay[index]
        left[index] = -torch.inf
    if not chosen:
        return scores.new_zeros(0, dtype=torch.long), scores.new_zeros(0)
    return torch.stack(chosen), torch.stack(values)


def suppressors(boxes: Tensor, kept: Tensor, threshold: float, labels: Tensor | None = None) -> Tensor:
    """Return for each box the index of the kept box that suppressed it: (n,), -1 for boxes that were kept.

    kept: the result of `nms` or, with `labels`, of `batched_nms` for the same boxes and threshold.
    """
    reached = _overlap(boxes[kept], boxes, threshold)  # (k, n)
    if labels is not None:
        reached &= labels[kept][:, None] == labels
    first = kept[reached.byte().argmax(0)] if len(kept) else kept.new_full((len(boxes),), -1)
    first[kept] = -1
    return first


def _keep(boxes: Tensor, scores: Tensor, threshold: float, labels: Tensor | None) -> Tensor:
    """Decide in rounds: what nothing left suppresses is kept; what that suppresses is removed, with its pairs.

    A round decides at least the box that is highest of those undecided; in practice, a few rounds decide all.
    """
    order = scores.argsort(descending=True, stable=True)
    higher, lower = _pairs(boxes[order], threshold, None if labels is None else labels[order])
    alive = torch.ones_like(order, dtype=torch.bool)
    while len(higher):
        sure = alive.clone()
        sure[lower] = False
        alive[lower[sure[higher]]] = False
        undecided = alive[higher] & alive[lower]
        higher, lower = higher[undecided], lower[undecided]
    return order[alive]


def _pairs(boxes: Tensor, threshold: float, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the pairs of boxes whose IoU is above the threshold, the smaller index first.

    Along x alone, boxes whose left sides are d apart have an IoU of at most (w - d) / w, w being the width of the left
    one, and in the plane no more. With boxes sorted by x0, each is therefore compared with a short run of successors.
    """
    order = boxes[:, 0].argsort()
    boxes = boxes[order]
    x0, width = boxes[:, 0].contiguous(), boxes[:, 2] - boxes[:, 0]
    # A hundredth more than the bound, for rounding.
    ends = torch.searchsorted(x0, x0 + (1.01 - threshold) * width, right=True).cummax(0).values
    starts = range(0, len(boxes), _BAND)
    found = [order.new_zeros(2, 0)]
    for start, end in zip(starts, ends[[min(start + _BAND, len(boxes)) - 1 for start in starts]].tolist(), strict=True):
        row, column = _overlap(boxes[start : start + _BAND], boxes[start:end], threshold).nonzero(as_tuple=True)
        later = row < column
        found.append(order[torch.stack([row[later], column[later]]) + start])
    pairs = torch.cat(found, 1)
    if labels is not None:
        pairs = pairs[:, labels[pairs[0]] == labels[pairs[1]]]
    return pairs.amin(0), pairs.amax(0)


def _overlap(boxes: Tensor, others: Tensor, threshold: float) -> Tensor:
    """Return whether the IoU of boxes (n, 4) and others (m, 4) is above the threshold: (n, m)."""
    common = intersection(boxes, others)
    union = area(boxes)[:, None] + area(others)
    return common > union.sub_(common).mul_(threshold)
