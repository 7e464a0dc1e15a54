"""The generalized IoU loss of boxes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Shape
from pellucid.losses.base import Loss, Reduction, check_reduction, fraction
from pellucid.losses.targets import check_numbers

_TINY = 1e-12  # the minimum of divisors, for boxes without an area


@dataclass(frozen=True)
class GIoU(Loss):
    """One minus the generalized IoU of boxes y (N, 4) and targets (N, 4), as x0, y0, x1, y1.

    Unlike the IoU, it has a gradient where boxes do not overlap, because it subtracts the fraction of the smallest box
    around both that is in neither of them. `reduction` "mean" and "batch" average over the boxes, "sum" sums. Where
    edges are equal, the gradient is the mean of the one-sided gradients. Source: Rezatofighi et al. 2019, algorithm 2.
    """

    metrics: ClassVar[tuple[str, ...]] = ("mae",)

    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown reduction."""
        check_reduction(self, self.reduction)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        scale = fraction(1.0, len(y) if self.reduction != "sum" else 1, y.dtype)
        cost, slope = self.pieces(y, target)
        return cost.sum() * scale, slope * scale

    def pieces(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cost (N,) of each box and its derivative (N, 4).

        With intersection I, union U = A + B - I and hull C, GIoU = I / U - 1 + U / C, so that its derivatives are
        1 / U + u for I, where u = I / U^2 - 1 / C; -u for A; and -U / C^2 for C.
        """
        if y.shape[1:] != (4,) or target.shape != y.shape:
            raise PellucidError(
                f"GIoU: boxes of shape {tuple(y.shape)} and targets of shape {tuple(target.shape)}; both must be (N, 4)"
            )
        target = target.to(y.dtype)
        low, high, other_low, other_high = y[:, :2], y[:, 2:], target[:, :2], target[:, 2:]  # (N, 2) each
        size, other_size = high - low, other_high - other_low
        common = (high.minimum(other_high) - low.maximum(other_low)).clamp_min(0)
        hull = high.maximum(other_high) - low.minimum(other_low)
        intersection, hull_area = common.prod(1), hull.prod(1).clamp_min(_TINY)
        union = (size.prod(1) + other_size.prod(1) - intersection).clamp_min(_TINY)
        cost = 2 - intersection / union - union / hull_area

        u = intersection / union**2 - 1 / hull_area
        by_intersection = torch.where(intersection > 0, 1 / union + u, 0)[:, None] * common.flip(1)  # dI/dw = height
        by_size = -u[:, None] * size.flip(1)
        by_hull = (-union / hull_area**2)[:, None] * hull.flip(1)
        # An edge of the intersection is this box's edge where that is the inner one; of the hull, where the outer one.
        inner_high, inner_low = _step(other_high - high), _step(low - other_low)
        dhigh = by_intersection * inner_high + by_size + by_hull * (1 - inner_high)
        dlow = -by_intersection * inner_low - by_size - by_hull * (1 - inner_low)
        return cost, -torch.cat([dlow, dhigh], 1)

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Raise PellucidError unless targets are four finite numbers for each example."""
        if tuple(outputs) != (4,) or targets.shape[1:] != (4,):
            raise PellucidError(
                f"GIoU: outputs of shape {tuple(outputs)} and targets of shape {tuple(targets.shape[1:])}; both must "
                "be boxes of four numbers, x0, y0, x1, y1"
            )
        check_numbers(self, outputs, targets)


def _step(distance: Tensor) -> Tensor:
    """Return 1 where the distance is positive, 0 where it is negative, and 1/2 where it is 0."""
    return (distance.sign() + 1) / 2
