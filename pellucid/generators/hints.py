"""Colour hints: dots of true colours, drawn in training in place of dots that a user gives."""

import math

import torch
from torch import Tensor

STOP_PROBABILITY = 1 / 8  # parameter of the geometric distribution of the number of dots, whose mean is 7
MAX_DOTS = 32  # in an image
SIDE_DIVISOR = 28  # the largest dot's side is a 28th of the image's shorter side


def draw_hints(ab: Tensor, rng: torch.Generator) -> Tensor:
    """Return dots of the true colours ab (N, 2, H, W): (N, 3, H, W) with a, b and 1 inside dots, 0 elsewhere.

    The number of dots follows a geometric distribution, limited to 32. A dot is a square at a uniform position, with a
    side from 1 pixel to a 28th of the image's shorter side and the colour of its centre; later dots cover earlier ones.
    Source: Zhang et al. 2017, "Real-time user-guided image colorization", section 3.2, with uniform positions.
    """
    n, _, height, width = ab.shape
    largest = max(1, min(height, width) // SIDE_DIVISOR)
    draws = torch.rand(3 * MAX_DOTS + 1, n, generator=rng, device=rng.device).to(ab.device)
    counts = (draws[0].clamp_min(1e-9).log() / math.log(1 - STOP_PROBABILITY)).long().clamp_max(MAX_DOTS)  # (N,)
    rows, columns, sides = draws[1:].view(3, MAX_DOTS, n)
    rows, columns = (rows * height).long(), (columns * width).long()
    sides = 1 + (sides * largest).long()
    offsets = torch.arange(largest, device=ab.device)
    hints = ab.new_zeros(n, 3, height, width)
    for dot in range(int(counts.max())):
        images = (counts > dot).nonzero().flatten()  # images with this dot
        row, column, side = rows[dot, images], columns[dot, images], sides[dot, images]
        colour = torch.cat([ab[images, :, row, column], ab.new_ones(len(images), 1)], 1)  # (n, 3)
        down, across = torch.meshgrid(offsets, offsets, indexing="ij")
        for dy, dx in zip(down.flatten(), across.flatten(), strict=True):
            y, x = row + dy - side // 2, column + dx - side // 2
            covered = (dy < side) & (dx < side) & (y >= 0) & (x >= 0) & (y < height) & (x < width)
            hints[images[covered], :, y[covered], x[covered]] = colour[covered]
    return hints
