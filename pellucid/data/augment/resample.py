"""Bilinear resampling of a batch under an affine map plus a displacement field, in one pass."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.data.augment.move import Fill, Move, check_fill

_PADDING = {"constant": "zeros", "nearest": "border", "reflect": "reflection"}
_ITERATIONS = 40
_CLOSE = 1e-3  # pixels


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
    Bilinear interpolation of floats, the nearest pixel of integers and bool; grid_sample's coordinates reach from -1 to
    1 between the outer edges.
    """
    check_fill(fill)
    n, _, h, w = x.shape
    rows, columns = size or (h, w)
    kind, mode = x.dtype, "bilinear" if x.is_floating_point() else "nearest"
    if mode == "nearest":  # a float of twice the size holds every class
        x = x.to(torch.float32 if x.element_size() <= 2 else torch.float64)
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
        y = _wrapped(x, grid, mode)
    elif fill == "constant" and value != 0:
        y = F.grid_sample(x - value, grid, mode, "zeros", align_corners=False).add_(value)
    else:
        y = F.grid_sample(x, grid, mode, _PADDING[fill], align_corners=False)
    return y.to(kind)


def _wrapped(x: Tensor, grid: Tensor, mode: str) -> Tensor:
    """Sample the plane that x tiles: positions are taken modulo its size, one more row and column close it."""
    h, w = x.shape[2:]
    closed = F.pad(x, (0, 1, 0, 1), mode="circular")  # (N, C, H + 1, W + 1)
    size = torch.tensor([w, h], dtype=x.dtype, device=x.device)
    position = torch.remainder(((grid + 1) * size - 1) / 2, size)  # pixels, in [0, size)
    return F.grid_sample(closed, (2 * position + 1) / (size + 1) - 1, mode, "border", align_corners=False)


@dataclass(frozen=True, eq=False)
class Resampling(Move):
    """`resample` with these arguments; shape: (H, W) of the images that it takes."""

    shape: tuple[int, int]
    matrix: Tensor
    offset: Tensor
    displacement: Tensor | None

    def apply(self, x: Tensor, fill: Fill, value: float) -> Tensor:
        """Return x resampled."""
        return resample(x, self.matrix, self.offset, self.displacement, fill, value, self.size)

    def points(self, at: Tensor) -> Tensor:
        """Solve q = matrix r + offset + d(r) for r; both are counted from the centres of the pictures.

        The displacement d is known where r is, so that r is found by fixed-point iteration, to within a small part of a
        pixel wherever d does not fold the picture.
        """
        (h, w), (rows, columns) = self.shape, self.size
        q = at - at.new_tensor([w / 2, h / 2]) - self.offset[:, None]  # (N, k, 2)
        inverse = torch.linalg.inv(self.matrix).mT
        r = q @ inverse
        if self.displacement is not None:
            scale = at.new_tensor([2 / columns, 2 / rows])
            for _ in range(_ITERATIONS):
                grid = (r * scale)[:, None]  # (N, 1, k, 2)
                d = F.grid_sample(self.displacement, grid, padding_mode="border", align_corners=False)[:, :, 0].mT
                step = (q - d) @ inverse - r
                r = r + step / 2  # half a step converges wherever the displacement does not fold the picture
                if not bool((step.abs() > _CLOSE).any()):
                    break
        return r + at.new_tensor([columns / 2, rows / 2])
