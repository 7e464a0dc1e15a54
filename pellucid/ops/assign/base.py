"""The result of an assigner, and the sampling of anchors from it."""

from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.ops.boxes import coverage

_MIN_CROWD_COVERAGE = 0.5  # anchors with at least this fraction of their area in a crowd are ignored


class Reason(IntEnum):
    """Why an anchor is positive, negative or ignored; `REASONS` contains a description of each."""

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
_NEGATIVE = (
    Reason.BACKGROUND,
    Reason.LOW,
    Reason.OFF_CENTRE,
    Reason.NOT_NEAR,
    Reason.EMPTY_CELL,
    Reason.OTHER_ANCHOR,
)


class Assignment(NamedTuple):
    """Training targets of n anchors: an object, background, or ignored.

    matched: (n,) int64, index of the object, -1 for background and ignored anchors. reason: (n,) int64, `Reason`.
    """

    matched: Tensor
    reason: Tensor

    @property
    def positive(self) -> Tensor:
        """Whether each anchor is matched to an object: (n,) bool."""
        return self.matched >= 0

    @property
    def negative(self) -> Tensor:
        """Whether each anchor is background: (n,) bool."""
        return torch.isin(self.reason, self.reason.new_tensor(_NEGATIVE))


def sample(assignment: Assignment, count: int, fraction: float, rng: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Draw at most `count` anchors, at most `fraction` of them positive; return indices (positive, negative).

    Missing positives are replaced by negatives. Source: Ren et al. 2015, section 3.1.3.
    """
    positive, negative = (_shuffled(which, rng) for which in (assignment.positive, assignment.negative))
    positive = positive[: int(count * fraction)]
    return positive, negative[: count - len(positive)]


def highest(iou: Tensor) -> tuple[Tensor, Tensor]:
    """Return the highest IoU of each row of (n, m) and its column, (n,) each; zeros if there are no columns."""
    if not iou.shape[1]:
        return iou.new_zeros(len(iou)), torch.zeros(len(iou), dtype=torch.long, device=iou.device)
    value, index = iou.max(1)
    return value, index


def regular(iou: Tensor, crowd: Tensor | None) -> Tensor:
    """Return the IoU (n, m) with 0 in the columns of crowds (m,), which are not matched to anchors."""
    return iou if crowd is None else iou.masked_fill(crowd, 0)


def in_crowd(anchors: Tensor, boxes: Tensor, crowd: Tensor | None) -> Tensor:
    """Return whether at least half of each anchor's area is in one of the crowds: (n,) bool."""
    if crowd is None:
        return torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
    return (coverage(anchors, boxes[crowd]) >= _MIN_CROWD_COVERAGE).any(1)


def _shuffled(which: Tensor, rng: torch.Generator | None) -> Tensor:
    index = which.nonzero()[:, 0]
    return index[torch.randperm(len(index), generator=rng, device=index.device)]
