"""Random windows: padded and cut back to size, or cut out and resized."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.data.augment.draw import uniform
from pellucid.data.augment.move import Fill, Move, check_fill
from pellucid.data.augment.resample import resample
from pellucid.errors import PellucidError


@dataclass(frozen=True, eq=False)
class Window(Move):
    """Cut a window out of every image. start: (N, 2), its first row and column, which may lie outside."""

    start: Tensor

    def apply(self, x: Tensor, fill: Fill, value: float) -> Tensor:
        """Return the windows (N, C, H', W') of x; no pixel is interpolated."""
        check_fill(fill)
        n, channels, h, w = x.shape
        rows, columns = self.size
        i = self.start[:, 0, None] + torch.arange(rows, device=x.device)  # (N, H'), may lie outside
        j = self.start[:, 1, None] + torch.arange(columns, device=x.device)  # (N, W')
        place = _inside(i, h, fill)[:, :, None] * w + _inside(j, w, fill)[:, None, :]  # (N, H', W')
        y = x.flatten(2).gather(2, place.flatten(1)[:, None].expand(-1, channels, -1)).view(n, channels, rows, columns)
        if fill == "constant":
            seen = ((i >= 0) & (i < h))[:, None, :, None] & ((j >= 0) & (j < w))[:, None, None, :]
            y = torch.where(seen, y, value)
        return y

    def points(self, at: Tensor) -> Tensor:
        """Return the points counted from the windows' corners."""
        return at - self.start.flip(1)[:, None].to(at.dtype)


def _inside(i: Tensor, n: int, fill: Fill) -> Tensor:
    """Map indices to 0..n-1: clamped, mirrored about the edges, or modulo n."""
    if fill == "wrap":
        return i % n
    if fill == "reflect":
        i = i % (2 * n)
        return torch.minimum(i, 2 * n - 1 - i)
    return i.clamp(0, n - 1)


def random_window(x: Tensor, padding: int, rng: torch.Generator, size: tuple[int, int] | None = None) -> Window:
    """Draw a window of `size` (by default H, W) in each picture of x, padded by `padding` pixels; see `random_crop`."""
    n, _, h, w = x.shape
    rows, columns = size or (h, w)
    spare = torch.tensor([h + 2 * padding - rows, w + 2 * padding - columns])
    if int(spare.min()) < 0:
        raise PellucidError(f"crop of {rows}x{columns} is larger than {h}x{w} padded by {padding}; make it smaller")
    start = (uniform((n, 2), 0.0, 1.0, rng, spare) * (spare + 1)).long().clamp_(max=spare) - padding
    return Window((rows, columns), start.to(x.device))


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
    return random_window(x, padding, rng, size).apply(x, fill, value)


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
