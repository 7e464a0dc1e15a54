"""How large values are, channel by channel."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Sizes:
    """mean, std: of all values; channels: the root of the mean square of each; low, high: their extremes, (C,) all."""

    mean: float
    std: float
    channels: Tensor
    low: Tensor
    high: Tensor

    @property
    def whole(self) -> float:
        """The root of the mean square of all values."""
        return sqrt(self.mean**2 + self.std**2)


def sizes(parts: Iterable[Tensor]) -> Sizes:
    """Measure inputs (N, C, ...) that come in parts, each of which is summed in float64 by itself."""
    found: list[Tensor] = []
    count = 0
    for part in parts:
        x = part.double()
        x = x.transpose(0, 1).flatten(1) if x.dim() > 1 else x[None]  # (C, N ...)
        found.append(torch.stack([x.sum(1), x.square().sum(1), x.amin(1), x.amax(1)]))
        count += x.shape[1]
    total, squares, low, high = torch.stack(found).unbind(1)  # (parts, C) each
    mean, square = float(total.sum(0).mean()) / count, squares.sum(0) / count
    low, high = low.amin(0), high.amax(0)
    varies = bool(low.min() < high.max())  # what is constant differs from its mean by rounding
    std = float((square.mean() - mean**2).clamp_min(0).sqrt()) if varies else 0.0
    return Sizes(mean, std, square.sqrt(), low, high)
