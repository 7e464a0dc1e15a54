"""The generalized IoU loss of boxes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_choice
from pellucid.layers.base import Shape
from pellucid.losses.base import REDUCTIONS, Loss, Reduction, fraction_tensor
from pellucid.losses.targets import check_values


@dataclass(frozen=True)
class GIoU(Loss):
    """One minus the generalized IoU of boxes y (N, 4) and targets (N, 4), as x0, y0, x1, y1.

    The generalized IoU is the IoU minus the fraction of the smallest box around both boxes that is in neither of them,
    so unlike the IoU it has a gradient where boxes do not overlap. The corners of y may be in any order; they are
    sorted first. `reduction` "mean" and "batch" average over the boxes, "sum" sums. Where edges are equal, the gradient
    is the mean of the one-sided gradients. Source: Rezatofighi et al. 2019, algorithm 2.
    """

    metrics: ClassVar[tuple[str, ...]] = ("mae",)

    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown reduction."""
        check_choice(self, REDUCTIONS, reduction=self.reduction)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        scale = fraction_tensor(1.0, len(y) if self.reduction != "sum" else 1, y.dtype)
        cost, slope = self.pieces(y, target)
        return cost.sum() * scale, slope * scale

    def pieces(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cost (N,) of each box and its derivative (N, 4).

        With the intersection I, the areas A of y and B of the target, the union U = A + B - I and the hull C,
        GIoU = I / U - 1 + U / C. Its derivatives are 1 / U + u with respect to I, where u = I / U^2 - 1 / C; -u with
        respect to A; and -U / C^2 with respect to C.
        """
        if y.shape[1:] != (4,) or target.shape != y.shape:
            raise PellucidError(
                f"GIoU: boxes of shape {tuple(y.shape)} and targets of shape {tuple(target.shape)}; both must be (N, 4)"
            )
        target = target.to(y.dtype)
        first_corner, second_corner = y[:, :2], y[:, 2:]  # (N, 2) each
        target_low, target_high = target[:, :2], target[:, 2:]
        low, high = first_corner.minimum(second_corner), first_corner.maximum(second_corner)
        hull = high.maximum(target_high) - low.minimum(target_low)
        # The GIoU does not depend on the unit of length. With the hull's longer side as unit, areas do not overflow.
        unit = hull.amax(1, keepdim=True)
        unit = torch.where(unit > 0, unit, 1)
        size, target_size, hull = (high - low) / unit, (target_high - target_low) / unit, hull / unit
        common = (high.minimum(target_high) - low.maximum(target_low)).clamp_min(0) / unit
        intersection, hull_area = common.prod(1), hull.prod(1)
        union = size.prod(1) + target_size.prod(1) - intersection
        is_flat = hull_area == 0  # both boxes are points or parts of one line; the hull has no area outside of them
        union_divisor, hull_area = torch.where(union > 0, union, 1), torch.where(is_flat, 1, hull_area)
        cost = 2 - intersection / union_divisor - torch.where(is_flat, 1, union / hull_area)

        u = intersection / union_divisor**2 - 1 / hull_area
        dintersection = torch.where(intersection > 0, 1 / union_divisor + u, 0)[:, None]
        dcommon = dintersection * common.flip(1)  # dI/dw = height
        dsize = -u[:, None] * size.flip(1)
        dhull = (-union / hull_area**2)[:, None] * hull.flip(1)
        # An edge of the intersection is the inner one of both boxes' edges; an edge of the hull is the outer one.
        high_is_inner, low_is_inner = _heaviside(target_high - high), _heaviside(low - target_low)
        dhigh = dcommon * high_is_inner + dsize + dhull * (1 - high_is_inner)
        dlow = -dcommon * low_is_inner - dsize - dhull * (1 - low_is_inner)
        first_is_low = _heaviside(second_corner - first_corner)  # whether the first corner is the lower one
        dfirst = dlow * first_is_low + dhigh * (1 - first_is_low)
        slope = -torch.cat([dfirst, dlow + dhigh - dfirst], 1) / unit
        return cost, torch.where(is_flat[:, None], 0, slope)

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Raise PellucidError unless targets are four finite numbers for each example, with x0 <= x1 and y0 <= y1."""
        if tuple(outputs) != (4,) or targets.shape[1:] != (4,):
            raise PellucidError(
                f"GIoU: outputs of shape {tuple(outputs)} and targets of shape {tuple(targets.shape[1:])}; both must "
                "be boxes of four numbers, x0, y0, x1, y1"
            )
        check_values(self, outputs, targets)
        inverted_examples = (targets[:, :2] > targets[:, 2:]).any(1).nonzero()[:, 0]
        if len(inverted_examples):
            example = int(inverted_examples[0])
            corners = [float(side) for side in targets[example]]
            raise PellucidError(
                f"GIoU: the target of example {example} is {corners}; boxes are x0, y0, x1, y1 with x0 <= x1 and "
                "y0 <= y1"
            )


def _heaviside(distance: Tensor) -> Tensor:
    """Return 1 where the distance is positive, 0 where it is negative, and 1/2 where it is 0."""
    return (distance.sign() + 1) / 2
