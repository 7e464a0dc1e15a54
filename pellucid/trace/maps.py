"""Tensors as small pictures: what is above 0 in orange, what is below in blue, what is 0 lets the page through."""

import base64
import io
import math
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

FINEST = 32  # pixels along a side of one map; larger ones are averaged
ABOVE, BELOW = (234, 88, 12), (37, 99, 235)  # a pair that colour-blind eyes tell apart
WIDE, TALL = 250, 96  # pixels of a picture on the page, about
LEVELS = 31  # of each colour; number LEVELS of the palette is 0
PALETTE = bytes(value for level in range(-LEVELS, LEVELS + 1) for value in (ABOVE if level > 0 else BELOW))
ALPHAS = bytes(round(255 * math.sqrt(abs(level) / LEVELS)) for level in range(-LEVELS, LEVELS + 1))


class Picture(NamedTuple):
    """An image for a page: its data as a URL, and its size there in pixels."""

    src: str
    width: int
    height: int


def picture(tensor: Tensor, most: int = 16) -> Picture | None:
    """Return one example (C, H, W) or (n,) as an image of at most `most` maps, None where there is nothing to draw."""
    grid = _grid(tensor.double(), most)
    reach = float(grid.abs().max()) if grid.numel() else 0.0
    if not grid.numel() or not math.isfinite(reach):
        return None
    levels = (grid / (reach or 1.0) * LEVELS).round().add(LEVELS).to(torch.uint8)
    image = Image.fromarray(levels.numpy())
    image.putpalette(PALETTE)
    file = io.BytesIO()
    image.save(file, "PNG", transparency=ALPHAS)
    data = base64.b64encode(file.getvalue()).decode()
    scale = max(1.0, min(12, WIDE / grid.shape[1], TALL / grid.shape[0]))
    return Picture(f"data:image/png;base64,{data}", round(grid.shape[1] * scale), round(grid.shape[0] * scale))


def _grid(one: Tensor, most: int) -> Tensor:
    """Lay maps in rows of eight, one pixel apart; a vector in rows of 64."""
    if one.dim() != 3:
        flat = one.flatten()[: 64 * 8]
        width = min(64, max(1, len(flat)))
        return F.pad(flat, (0, -len(flat) % width)).view(-1, width)
    height, width = min(FINEST, one.shape[1]), min(FINEST, one.shape[2])
    maps = F.pad(F.adaptive_avg_pool2d(one[:most], (height, width)), (0, 1, 0, 1))  # (C, H + 1, W + 1)
    across = min(8, len(maps))
    full = F.pad(maps, (0, 0, 0, 0, 0, -len(maps) % across))
    rows = full.view(-1, across, *maps.shape[1:]).permute(0, 2, 1, 3)  # (rows, H + 1, across, W + 1)
    return rows.reshape(-1, across * maps.shape[2])[:-1, :-1]
