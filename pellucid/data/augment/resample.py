"""Bilinear resampling of a batch under an affine map plus a displacement field, in one pass."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.errors import PellucidError, nearest

Fill = Literal["constant", "nearest", "reflect", "wrap"]
_PADDING = {"constant": "zeros", "nearest": "border", "reflect": "reflection"}


def check_fill(fill: str) -> None:
    """Raise PellucidError for an unknown fill mode."""
    if fill not in get_args(Fill):
        known = ", ".join(get_args(Fill))
        raise PellucidError(f"unknown fill {fill!r}{nearest(fill, get_args(Fill))}; known are {known}")


def resample(
    x: Tensor,
    matrix: Tensor,
    offset: Tensor,
    displacement: Tensor | None = None,
    fill: Fill = "constant",
    value: float = 0.0,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Return y with y[n, :, p] = x[n, :, q], q = c_in + matrix[n] (p - c_out) + offset[n] + displacement[n, :, p].

    p and q are pixel positions (column, row), c the centres of the output and input pictures.
    x: (N, C, H, W); matrix: (N, 2, 2); offset: (N, 2); displacement: (N, 2, H', W') or None; size: (H', W'),
    by default that of x. Outside the picture, fill "constant" sees `value` (blended at the border), "nearest"
    the border pixel, "reflect" the mirror image (d c b a | a b c d | d c b a), "wrap" the picture again.
    Bilinear interpolation; grid_sample's coordinates reach from -1 to 1 between the outer edges.
    """
    check_fill(fill)
    n, _, h, w = x.shape
    rows, columns = size or (h, w)
    # Pixel u lies at (u - (w - 1) / 2) from the centre, that is at 2 / w times this in grid coordinates.
    u = torch.arange(columns, dtype=x.dtype, device=x.device) - (columns - 1) / 2  # (W',)
    v = torch.arange(rows, dtype=x.dtype, device=x.device) - (rows - 1) / 2  # (H',)
    scale = torch.tensor([2 / w, 2 / h], dtype=x.dtype, device=x.device)
    m = matrix * scale[:, None]  # (N, 2, 2)
    along_row = m[:, :, 0, None] * u  # (N, 2, W')
    along_column = m[:, :, 1, None] * v + (offset * scale)[:, :, None]  # (N, 2, H')
    grid = x.new_empty((n, rows, columns, 2))
    for axis in (0, 1):
        torch.add(along_row[:, axis, None, :], along_column[:, axis, :, None], out=grid[..., axis])
        if displacement is not None:
            grid[..., axis].add_(displacement[:, axis], alpha=2 / (w, h)[axis])
    if fill == "wrap":
        return _wrapped(x, grid)
    if fill == "constant" and value != 0:
        return F.grid_sample(x - value, grid, padding_mode="zeros", align_corners=False).add_(value)
    return F.grid_sample(x, grid, padding_mode=_PADDING[fill], align_corners=False)


def _wrapped(x: Tensor, grid: Tensor) -> Tensor:
    """Sample the plane that x tiles: positions are taken modulo its size, one more row and column close it."""
    h, w = x.shape[2:]
    closed = F.pad(x, (0, 1, 0, 1), mode="circular")  # (N, C, H + 1, W + 1)
    size = torch.tensor([w, h], dtype=x.dtype, device=x.device)
    position = torch.remainder(((grid + 1) * size - 1) / 2, size)  # pixels, in [0, size)
    return F.grid_sample(closed, (2 * position + 1) / (size + 1) - 1, padding_mode="border", align_corners=False)
