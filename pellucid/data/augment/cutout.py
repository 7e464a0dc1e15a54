"""Squares of pictures are covered."""

import torch
from torch import Tensor

from pellucid.data.augment.draw import uniform
from pellucid.errors import PellucidError


def cutout(x: Tensor, side: int, rng: torch.Generator) -> Tensor:
    """Cover a square of `side` pixels in each picture of x (N, C, H, W) with the picture's mean colour.

    The square's centre is any pixel, each as likely as the other, so that at an edge part of the square falls outside.
    Raises PellucidError for a side below 1. Source: DeVries and Taylor 2017, section 3.2.
    """
    if side < 1:
        raise PellucidError(f"cutout: side is {side}; give 1 pixel or more")
    n, _, h, w = x.shape
    first = (uniform((n, 2), 0.0, 1.0, rng, x) * torch.tensor([h, w], device=x.device)).long() - side // 2  # (N, 2)
    rows = _covered(first[:, 0, None], side, h)  # (N, H)
    columns = _covered(first[:, 1, None], side, w)  # (N, W)
    square = (rows[:, :, None] & columns[:, None, :])[:, None]  # (N, 1, H, W)
    return torch.where(square, x.mean((2, 3), keepdim=True), x)


def _covered(first: Tensor, side: int, length: int) -> Tensor:
    """Return which of 0..length - 1 lie in [first, first + side): (N, length)."""
    places = torch.arange(length, device=first.device)
    return (places >= first) & (places < first + side)
