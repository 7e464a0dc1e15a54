"""Mirror images."""

import torch
from torch import Tensor

from pellucid.data.augment.draw import coins


def horizontal_flip(x: Tensor, rng: torch.Generator, p: float = 0.5) -> Tensor:
    """Exchange left and right in each picture of x (N, C, H, W) with probability p."""
    return torch.where(coins(len(x), p, rng, x), x.flip(3), x)


def vertical_flip(x: Tensor, rng: torch.Generator, p: float = 0.5) -> Tensor:
    """Exchange top and bottom in each picture of x (N, C, H, W) with probability p."""
    return torch.where(coins(len(x), p, rng, x), x.flip(2), x)
