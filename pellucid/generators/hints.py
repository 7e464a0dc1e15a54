"""Dots of colour that a user may give, drawn from true colours for training."""

import math

import torch
from torch import Tensor

RARE = 1 / 8  # of the geometric distribution of the number of dots: 7 on average
MOST = 32  # dots in an image
SHARE = 28  # the largest dot's side is a 28th of the image's


def draw_hints(ab: Tensor, rng: torch.Generator) -> Tensor:
    """Return dots of the true colours ab (N, 2, H, W): (N, 3, H, W), a and b, and 1 in a dot; 0 elsewhere.

    The number of dots is drawn from a geometric distribution, 0 to 32. A dot is a square anywhere, with a side from 1
    to a 28th of the image's shorter one, and the colour of its centre; later dots cover earlier ones.
    Source: Zhang et al. 2017, "Real-time user-guided image colorization", section 3.2, with uniform positions.
    """
    n, _, height, width = ab.shape
    largest = max(1, min(height, width) // SHARE)
    draws = torch.rand(3 * MOST + 1, n, generator=rng, device=rng.device).to(ab.device)
    counts = (draws[0].clamp_min(1e-9).log() / math.log(1 - RARE)).long().clamp_max(MOST)  # (N,)
    rows, columns, sides = draws[1:].view(3, MOST, n)
    rows, columns = (rows * height).long(), (columns * width).long()
    sides = 1 + (sides * largest).long()
    within = torch.arange(largest, device=ab.device)
    hints = ab.new_zeros(n, 3, height, width)
    for dot in range(int(counts.max())):
        has = (counts > dot).nonzero().flatten()  # images with this dot
        row, column, side = rows[dot, has], columns[dot, has], sides[dot, has]
        colour = torch.cat([ab[has, :, row, column], ab.new_ones(len(has), 1)], 1)  # (n, 3)
        down, across = torch.meshgrid(within, within, indexing="ij")
        for dy, dx in zip(down.flatten(), across.flatten(), strict=True):
            y, x = row + dy - side // 2, column + dx - side // 2
            good = (dy < side) & (dx < side) & (y >= 0) & (x >= 0) & (y < height) & (x < width)
            hints[has[good], :, y[good], x[good]] = colour[good]
    return hints
