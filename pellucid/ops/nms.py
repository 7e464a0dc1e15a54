"""Non-maximum suppression: of boxes that overlap, the one with the highest score is kept."""

import torch
from torch import Tensor

from pellucid.ops.boxes import area, box_iou, intersection

_BAND = 128  # number of boxes that are compared with their neighbours at once, so that temporaries fit into the cache
_ROUNDS = 16  # of decisions about all boxes at once, before those box by box
_FIRST = 1000  # number of boxes that are decided before the others


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

    kept: the result of `nms` or, with `labels`, of `batched_nms` for the same boxes and threshold, or the first of it;
    then it is also -1 for boxes that others suppressed.
    """
    reached = _overlap(boxes[kept], boxes, threshold)  # (k, n)
    if labels is not None:
        reached &= labels[kept][:, None] == labels
    if not len(kept):
        return kept.new_full((len(boxes),), -1)
    first = torch.where(reached.any(0), kept[reached.byte().argmax(0)], -1)
    first[kept] = -1
    return first


def _keep(boxes: Tensor, scores: Tensor, threshold: float, labels: Tensor | None) -> Tensor:
    """Decide among the first boxes, remove what they suppress of the others, then decide among what is left.

    Where many boxes overlap, the first ones suppress most of the others.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, labels = boxes[order], None if labels is None else labels[order]
    first = _undisputed(boxes[:_FIRST], threshold, None if labels is None else labels[:_FIRST])
    rest = torch.arange(len(boxes), device=boxes.device)[_FIRST:]
    if len(rest):
        suppressed = _pairs(boxes[first], boxes[rest], threshold)
        if labels is not None:
            suppressed = suppressed[:, labels[first[suppressed[0]]] == labels[rest[suppressed[1]]]]
        left = torch.ones_like(rest, dtype=torch.bool)
        left[suppressed[1]] = False
        rest = rest[left]
        rest = rest[_undisputed(boxes[rest], threshold, None if labels is None else labels[rest])]
    return order[torch.cat([first, rest])]


def _undisputed(boxes: Tensor, threshold: float, labels: Tensor | None) -> Tensor:
    """Return the indices of the kept ones among boxes (n, 4) in the order of descending scores.

    In rounds: what nothing left suppresses is kept; what that suppresses is removed, with its pairs. A round decides
    at least the first of those undecided; in practice, a few rounds decide all. What is left then, such as a chain of
    boxes that each overlap the next, is decided box by box.
    """
    pairs = _pairs(boxes, None, threshold)
    if labels is not None:
        pairs = pairs[:, labels[pairs[0]] == labels[pairs[1]]]
    higher, lower = pairs.amin(0), pairs.amax(0)
    alive = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    for _ in range(_ROUNDS):
        if not len(higher):
            break
        sure = alive.clone()
        sure[lower] = False
        alive[lower[sure[higher]]] = False
        undecided = alive[higher] & alive[lower]
        higher, lower = higher[undecided], lower[undecided]
    if len(higher):
        order, left = higher.argsort(), alive.tolist()
        for first, second in zip(higher[order].tolist(), lower[order].tolist(), strict=True):
            left[second] = left[second] and not left[first]  # in this order, `first` is decided
        alive = alive.new_tensor(left)
    return alive.nonzero()[:, 0]


def _pairs(boxes: Tensor, others: Tensor | None, threshold: float) -> Tensor:
    """Return the pairs (2, p) of a box (n, 4) and another (m, 4) whose IoU is above the threshold.

    Without `others`, the pairs among the boxes, each once. Along x alone, boxes whose left sides are d apart have an
    IoU of at most (w - d) / w, w being the width of the left one, and in the plane no more. With both sorted by x0,
    each band of boxes is therefore compared with a short run of others.
    """
    order = boxes[:, 0].argsort()
    boxes = boxes[order]
    among = others is None
    other_order = order if others is None else others[:, 0].argsort()
    others = boxes if others is None else others[other_order]
    x0, share = others[:, 0].contiguous(), 1.01 - threshold  # a hundredth more than the bound, for rounding
    starts = torch.arange(0, len(boxes), _BAND, device=boxes.device)
    reach = (boxes[:, 0] + share * (boxes[:, 2] - boxes[:, 0])).cummax(0).values
    ends = torch.searchsorted(x0, reach[(starts + _BAND - 1).clamp_max(len(boxes) - 1)], right=True)
    firsts = starts
    if not among and len(others):
        firsts = torch.searchsorted(x0, boxes[starts, 0] - share * (others[:, 2] - others[:, 0]).amax())
    found = [order.new_zeros(2, 0)]
    for start, first, end in torch.stack([starts, firsts, ends], 1).tolist():
        row, column = _overlap(boxes[start : start + _BAND], others[first:end], threshold).nonzero().T
        if among:
            row, column = row[row < column], column[row < column]
        found.append(torch.stack([order[row + start], other_order[column + first]]))
    return torch.cat(found, 1)


def _overlap(boxes: Tensor, others: Tensor, threshold: float) -> Tensor:
    """Return whether the IoU of boxes (n, 4) and others (m, 4) is above the threshold: (n, m)."""
    common = intersection(boxes, others)
    union = area(boxes)[:, None] + area(others)
    return common > union.sub_(common).mul_(threshold)
