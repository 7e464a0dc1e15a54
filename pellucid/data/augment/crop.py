"""Random windows: padded and cut back to size, or cut out and resized."""

import math

import torch
from torch import Tensor

from pellucid.data.augment.draw import uniform
from pellucid.data.augment.resample import Fill, check_fill, resample
from pellucid.errors import PellucidError


def random_crop(
    x: Tensor,
    padding: int,
    rng: torch.Generator,
    fill: Fill = "constant",
    value: float = 0.0,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Pad each picture of x (N, C, H, W) by `padding` pixels and cut a window of `size` (by default H, W) from it.

    Every whole-pixel place is equally likely. fill, value: see `resample`. Raises PellucidError when the
    window is larger than the padded picture.
    """
    check_fill(fill)
    n, _, h, w = x.shape
    rows, columns = size or (h, w)
    spare = torch.tensor([h + 2 * padding - rows, w + 2 * padding - columns])
    if int(spare.min()) < 0:
        raise PellucidError(f"crop of {rows}x{columns} is larger than {h}x{w} padded by {padding}; make it smaller")
    start = (uniform((n, 2), 0.0, 1.0, rng, spare) * (spare + 1)).long().clamp_(max=spare) - padding
    start = start.to(x.device)
    i = start[:, 0, None] + torch.arange(rows, device=x.device)  # (N, rows), may lie outside
    j = start[:, 1, None] + torch.arange(columns, device=x.device)  # (N, columns)
    batch = torch.arange(n, device=x.device)[:, None, None]
    # Indexing (N, H, W, C) with three index arrays gives (N, rows, columns, C).
    y = x.permute(0, 2, 3, 1)[batch, _inside(i, h, fill)[:, :, None], _inside(j, w, fill)[:, None, :]]
    y = y.permute(0, 3, 1, 2).contiguous()
    if fill == "constant":
        seen = ((i >= 0) & (i < h))[:, None, :, None] & ((j >= 0) & (j < w))[:, None, None, :]
        y = torch.where(seen, y, value)
    return y


def _inside(i: Tensor, n: int, fill: Fill) -> Tensor:
    """Map indices to 0..n-1: clamped, mirrored about the edges, or modulo n."""
    if fill == "wrap":
        return i % n
    if fill == "reflect":
        i = i % (2 * n)
        return torch.minimum(i, 2 * n - 1 - i)
    return i.clamp(0, n - 1)


def resized_crop(
    x: Tensor,
    size: tuple[int, int],
    rng: torch.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Cut a random window out of each picture of x (N, C, H, W) and resize it to `size`, bilinearly.

    scale: its part of the area, uniform; ratio: width over height, log-uniform; where such a window does
    not fit, its longer side is cut to the picture's. Source: Szegedy et al. 2015, "Going deeper with
    convolutions", section 6.
    """
    n, _, h, w = x.shape
    u = uniform((n, 4), 0.0, 1.0, rng, x)
    area = h * w * (scale[0] + (scale[1] - scale[0]) * u[:, 0])
    aspect = torch.exp(math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * u[:, 1])
    box = torch.stack((torch.sqrt(area * aspect), torch.sqrt(area / aspect)), dim=1)  # (N, 2): width, height
    whole = torch.tensor([w, h], dtype=x.dtype, device=x.device)
    box = torch.minimum(box, whole)
    offset = (u[:, 2:] - 0.5) * (whole - box)  # of the window's centre from the picture's
    matrix = torch.diag_embed(box / torch.tensor([size[1], size[0]], dtype=x.dtype, device=x.device))
    return resample(x, matrix, offset, fill="nearest", size=size)
