"""Region proposals: the boxes of one image that a second stage looks at."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pellucid.objects import Objects
from pellucid.ops.boxes import area, clip
from pellucid.ops.nms import nms

BEST = 1000  # boxes of an image that suppression compares
OVERLAP = 0.7  # IoU above which suppression removes a proposal


def propose(boxes: Tensor, scores: Tensor, size: tuple[int, int], count: int) -> tuple[Tensor, Tensor]:
    """Return at most `count` proposals (m, 4) of an image of `size` (H, W), and the anchor (m,) that each is from.

    boxes: (A, 4), scores: (A,). The best by score are cut at the borders of the image; those without an area, and
    those that overlap a better one, are left out. Source: Ren et al. 2015, section 3.3.
    """
    best = scores.topk(min(BEST, len(scores))).indices
    cut = clip(boxes[best], size)
    filled = (area(cut) > 0).nonzero()[:, 0]
    best, cut = best[filled], cut[filled]
    kept = nms(cut, scores[best], OVERLAP)[:count]
    return cut[kept], best[kept]


def unlabelled(targets: Sequence[Objects]) -> list[Objects]:
    """Return the objects with the label 0: for proposals, there is one class of objects."""
    return [replace(one, labels=torch.zeros_like(one.labels)) for one in targets]
