"""Non-maximum suppression: among overlapping boxes, keep the one with the highest score."""

import torch
from torch import Tensor

from pellucid.ops.boxes import area, box_iou, intersection

_BAND = 128  # boxes that are compared with their neighbours at once, so temporary tensors fit into the cache
_MAX_ROUNDS = 16  # of vectorized suppression, before the remaining boxes are decided one by one
_N_FIRST = 1000  # number of boxes with the highest scores that are decided before the others


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Return the indices of the kept boxes, in the order of descending scores.

    boxes: (n, 4). scores: (n,); equal scores keep their order. In the order of descending scores, each kept
    box suppresses all later boxes whose IoU with it is above the threshold. Source: Girshick et al. 2014, section 2.1.
    """
    return _keep(boxes, scores, threshold, None)


def batched_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Return the indices of the kept boxes if only boxes with equal labels (n,) suppress each other.

    The labels are, for example, classes, images or pyramid levels. The order is that of descending scores.
    """
    return _keep(boxes, scores, threshold, labels)


def soft_nms(boxes: Tensor, scores: Tensor, sigma: float = 0.5, minimum: float = 0.001) -> tuple[Tensor, Tensor]:
    """Return indices and decayed scores of boxes, by descending decayed score (soft non-maximum suppression).

    Each chosen box multiplies the scores of the boxes not yet chosen by exp(-IoU^2 / sigma). Boxes whose decayed score
    is below `minimum` are left out. Source: Bodla et al. 2017, equation 3.
    """
    decay = (-box_iou(boxes, boxes).square() / sigma).exp()  # (n, n)
    remaining = scores.clone()
    chosen, values = [], []
    for _ in range(len(boxes)):  # each choice depends on all choices before it
        value, index = remaining.max(0)
        if value < minimum:
            break
        chosen.append(index)
        values.append(value)
        remaining = remaining * decay[index]
        remaining[index] = -torch.inf
    if not chosen:
        return scores.new_zeros(0, dtype=torch.long), scores.new_zeros(0)
    return torch.stack(chosen), torch.stack(values)


def suppressors(boxes: Tensor, kept: Tensor, threshold: float, labels: Tensor | None = None) -> Tensor:
    """Return for each box the index of the kept box that suppressed it: (n,), -1 for boxes that were kept.

    kept: the result of `nms` or, with `labels`, of `batched_nms` for the same boxes and threshold. If it is only the
    beginning of that result, boxes that are suppressed by the missing ones also get -1.
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
    """Return the indices of the kept boxes, in the order of descending scores.

    The _N_FIRST boxes with the highest scores are decided first, and all other boxes that they suppress are removed;
    then the remaining ones are decided. If many boxes overlap, the first ones suppress most of the others.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, labels = boxes[order], None if labels is None else labels[order]
    first = _unsuppressed(boxes[:_N_FIRST], threshold, None if labels is None else labels[:_N_FIRST])
    remaining = torch.arange(len(boxes), device=boxes.device)[_N_FIRST:]
    if len(remaining):
        suppressed = _pairs(boxes[first], boxes[remaining], threshold)
        if labels is not None:
            suppressed = suppressed[:, labels[first[suppressed[0]]] == labels[remaining[suppressed[1]]]]
        remains = torch.ones_like(remaining, dtype=torch.bool)
        remains[suppressed[1]] = False
        remaining = remaining[remains]
        remaining = remaining[_unsuppressed(boxes[remaining], threshold, None if labels is None else labels[remaining])]
    return order[torch.cat([first, remaining])]


def _unsuppressed(boxes: Tensor, threshold: float, labels: Tensor | None) -> Tensor:
    """Return the indices of the kept boxes among boxes (n, 4) in the order of descending scores.

    In each round, boxes that no remaining box suppresses are kept, and the boxes that they suppress are removed with
    their pairs. A round decides at least the first undecided box; in practice, a few rounds decide all. Boxes that
    remain undecided, such as a chain of boxes that each overlap the next, are decided one by one.
    """
    pairs = _pairs(boxes, None, threshold)
    if labels is not None:
        pairs = pairs[:, labels[pairs[0]] == labels[pairs[1]]]
    higher, lower = pairs.amin(0), pairs.amax(0)
    alive = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    for _ in range(_MAX_ROUNDS):
        if not len(higher):
            break
        is_kept = alive.clone()
        is_kept[lower] = False
        alive[lower[is_kept[higher]]] = False
        undecided = alive[higher] & alive[lower]
        higher, lower = higher[undecided], lower[undecided]
    if len(higher):
        order, alive_list = higher.argsort(), alive.tolist()
        for first, second in zip(higher[order].tolist(), lower[order].tolist(), strict=True):
            # The pairs are sorted by `first`, so its state is final here.
            alive_list[second] = alive_list[second] and not alive_list[first]
        alive = alive.new_tensor(alive_list)
    return alive.nonzero()[:, 0]


def _pairs(boxes: Tensor, others: Tensor | None, threshold: float) -> Tensor:
    """Return index pairs (2, p) into `boxes` (n, 4) and `others` (m, 4) whose IoU is above the threshold.

    Without `others`, pairs within `boxes`, each once. If the left sides of two boxes are d apart, their IoU is at most
    (w - d) / w, where w is the width of the left box. Both are sorted by x0, so each band of boxes has to be compared
    only with a short range of others.
    """
    order = boxes[:, 0].argsort()
    boxes = boxes[order]
    within = others is None
    other_order = order if others is None else others[:, 0].argsort()
    others = boxes if others is None else others[other_order]
    x0, max_distance = (
        others[:, 0].contiguous(),
        1.01 - threshold,
    )  # in widths; 0.01 more than the bound, for rounding errors
    starts = torch.arange(0, len(boxes), _BAND, device=boxes.device)
    reach = (boxes[:, 0] + max_distance * (boxes[:, 2] - boxes[:, 0])).cummax(0).values
    ends = torch.searchsorted(x0, reach[(starts + _BAND - 1).clamp_max(len(boxes) - 1)], right=True)
    firsts = starts
    if not within and len(others):
        firsts = torch.searchsorted(x0, boxes[starts, 0] - max_distance * (others[:, 2] - others[:, 0]).amax())
    found = [order.new_zeros(2, 0)]
    for start, first, end in torch.stack([starts, firsts, ends], 1).tolist():
        row, column = _overlap(boxes[start : start + _BAND], others[first:end], threshold).nonzero().T
        if within:
            row, column = row[row < column], column[row < column]
        found.append(torch.stack([order[row + start], other_order[column + first]]))
    return torch.cat(found, 1)


def _overlap(boxes: Tensor, others: Tensor, threshold: float) -> Tensor:
    """Return whether the IoU of boxes (n, 4) and others (m, 4) is above the threshold: (n, m)."""
    common = intersection(boxes, others)
    union = area(boxes)[:, None] + area(others)
    return common > union.sub_(common).mul_(threshold)
