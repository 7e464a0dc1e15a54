"""Region proposals: the boxes of an image that the second stage classifies."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pellucid.objects import Objects
from pellucid.ops.boxes import area, clip
from pellucid.ops.nms import nms

MAX_BOXES = 1000  # of an image, that enter non-maximum suppression
MAX_IOU = 0.7  # of two proposals; above it, suppression removes the one with the lower score


def propose(boxes: Tensor, scores: Tensor, size: tuple[int, int], count: int) -> tuple[Tensor, Tensor]:
    """Return at most `count` proposals (m, 4) of an image of `size` (H, W), and the index (m,) of each one's anchor.

    boxes: (A, 4), scores: (A,). The boxes with the highest scores are clipped to the image; those without an area, and
    those that overlap a box with a higher score, are removed. Source: Ren et al. 2015, section 3.3.
    """
    best = scores.topk(min(MAX_BOXES, len(scores))).indices
    clipped = clip(boxes[best], size)
    valid = (area(clipped) > 0).nonzero()[:, 0]
    best, clipped = best[valid], clipped[valid]
    kept = nms(clipped, scores[best], MAX_IOU)[:count]
    return clipped[kept], best[kept]


def unlabelled(targets: Sequence[Objects]) -> list[Objects]:
    """Return the objects with the label 0, the only class of proposals."""
    return [replace(one, labels=torch.zeros_like(one.labels)) for one in targets]
