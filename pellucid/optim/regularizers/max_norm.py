"""A limit on the length of each unit's weights."""
# PyTorch does not say the types of some of its functions.
# pyright: reportUnknownMemberType=false

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from pellucid.calls import Checked
from pellucid.optim.base import check_range


@dataclass(frozen=True)
class MaxNorm(metaclass=Checked):
    """No unit's incoming weights are longer than `limit`: after each update, those that are get scaled back to it.

    A unit is one index of the weight's first axis: an output of Dense, a filter of Conv2d. No other layer's weights
    are limited: those of ConvTranspose2d have a unit along the second axis, in groups.
    Source: Srivastava et al. 2014, Dropout, section 5.1.
    """

    limit: float

    def __post_init__(self) -> None:
        """Raise PellucidError for a limit that is not above 0."""
        check_range(self, open_low=True, limit=self.limit)

    def after_update(self, weights: list[Tensor]) -> None:
        """Scale back, in place, the units that are too long."""
        for weight in weights:
            axes = tuple(range(1, weight.dim()))
            length = cast(Tensor, torch.linalg.vector_norm(weight, dim=axes, keepdim=True))  # (units, 1, ...)
            weight.mul_((self.limit / length).clamp(max=1.0))  # a unit of length 0 gives infinity, hence 1
