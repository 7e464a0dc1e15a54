"""Pictures without a digit for the canvas, which show how confident a network is when no class is right."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from pellucid.base.settings.checks import check, check_known

NONSENSE = ("noise", "stripes", "scribble")
MAX_SEED = 1000
STROKES = 4
PEN = 5.0  # pixels from the middle of a stroke to its edge
GRID = (0.15, 0.5, 0.85)  # coordinates of the ends of a scribble's strokes, as fractions of the side


def nonsense(kind: str, seed: int, side: int) -> Tensor:
    """Return a picture (side, side) uint8, ink 255; kind: one of `NONSENSE`; the same seed gives the same picture."""
    check_known("no kind of nonsense", kind, NONSENSE)
    check(0 <= seed <= MAX_SEED, "n", f"from 0 to {MAX_SEED}", seed)
    rng = torch.Generator().manual_seed(seed)
    if kind == "noise":
        return torch.randint(0, 256, (side, side), generator=rng, dtype=torch.uint8)
    pixels = torch.cartesian_prod(torch.arange(side), torch.arange(side)).float()  # (row, column) of each pixel
    if kind == "stripes":
        angle, period = (torch.rand(2, generator=rng) * torch.tensor([math.pi, side / 4])).tolist()
        wave = pixels @ torch.tensor([math.sin(angle), math.cos(angle)]) * (2 * math.pi / (period + side / 8))
        ink = (wave.sin() + 1) / 2
    else:
        grid_points = torch.cartesian_prod(torch.tensor(GRID), torch.tensor(GRID)) * side
        stroke_ends = grid_points[torch.randperm(len(grid_points), generator=rng)[: STROKES + 1]]
        distances = torch.stack([_distance(pixels, *ends) for ends in pairwise(stroke_ends)]).amin(0)
        ink = (PEN + 0.5 - distances).clamp(0, 1)
    return (ink * 255).round().to(torch.uint8).view(side, side)


def _distance(at: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Return the distance of each point (n, 2) to the stroke between two others."""
    stroke = end - start
    fractions = ((at - start) @ stroke / (stroke @ stroke)).clamp(0, 1)
    return (at - start - fractions[:, None] * stroke).norm(dim=1)
