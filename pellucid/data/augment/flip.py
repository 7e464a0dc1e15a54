"""Mirror images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.data.augment.draw import coins
from pellucid.data.augment.move import Fill, Move


@dataclass(frozen=True, eq=False)
class Flip(Move):
    """Mirror images along one axis. chosen: (N, 1, 1, 1) bool; axis: 3 exchanges left and right, 2 top and bottom."""

    chosen: Tensor
    axis: int

    def apply(self, x: Tensor, fill: Fill, value: float) -> Tensor:
        """Return x with the chosen images mirrored; nothing is left to fill."""
        return torch.where(self.chosen, x.flip(self.axis), x)

    def points(self, at: Tensor) -> Tensor:
        """Return width - x, or height - y, for the points of the chosen images."""
        coordinate = torch.arange(2, device=at.device) == 3 - self.axis
        return torch.where(self.chosen[:, 0] & coordinate, self.size[self.axis - 2] - at, at)


def random_flip(x: Tensor, axis: int, rng: torch.Generator, p: float = 0.5) -> Flip:
    """Draw which images of x (N, C, H, W) are mirrored along `axis`, each with probability p."""
    return Flip((x.shape[2], x.shape[3]), coins(len(x), p, rng, x), axis)


def horizontal_flip(x: Tensor, rng: torch.Generator, p: float = 0.5) -> Tensor:
    """Exchange left and right in each picture of x (N, C, H, W) with probability p."""
    return random_flip(x, 3, rng, p).apply(x, "constant", 0)


def vertical_flip(x: Tensor, rng: torch.Generator, p: float = 0.5) -> Tensor:
    """Exchange top and bottom in each picture of x (N, C, H, W) with probability p."""
    return random_flip(x, 2, rng, p).apply(x, "constant", 0)
