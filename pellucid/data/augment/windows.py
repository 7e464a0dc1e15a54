"""Flips, transpositions, crops and mosaics, which move pixels without interpolation, except `resized_crop`."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data.augment.move import Fill, Move, check_fill, random_booleans, uniform
from pellucid.data.augment.resample import resample

_MIN_QUARTER = 0.2  # height and width of a mosaic's quarter, as a fraction of the image's


@dataclass(frozen=True, eq=False)
class Flip(Move):
    """Mirror images along one axis.

    is_applied: (N, 1, 1, 1) bool, whether to mirror each image; axis: 3 exchanges left and right, 2 top and bottom.
    """

    is_applied: Tensor
    axis: int

    def apply(self, x: Tensor, fill: Fill, value: float) -> Tensor:
        """Return x with the selected images mirrored; `fill` is not used."""
        return torch.where(self.is_applied, x.flip(self.axis), x)

    def points(self, positions: Tensor) -> Tensor:
        """Return width - x, or height - y, for the points of the mirrored images."""
        is_mirrored_coordinate = torch.arange(2, device=positions.device) == 3 - self.axis
        return torch.where(
            self.is_applied[:, 0] & is_mirrored_coordinate, self.size[self.axis - 2] - positions, positions
        )


def random_flip(x: Tensor, axis: int, rng: torch.Generator, p: float = 0.5) -> Flip:
    """Draw which images of x (N, C, H, W) are mirrored along `axis`, each with probability p."""
    return Flip((x.shape[2], x.shape[3]), random_booleans(len(x), p, rng, x), axis)


def horizontal_flip(x: Tensor, rng: torch.Generator, p: float = 0.5) -> Tensor:
    """Exchange left and right in each image of x (N, C, H, W) with probability p."""
    return random_flip(x, 3, rng, p).apply(x, "constant", 0)


def vertical_flip(x: Tensor, rng: torch.Generator, p: float = 0.5) -> Tensor:
    """Exchange top and bottom in each image of x (N, C, H, W) with probability p."""
    return random_flip(x, 2, rng, p).apply(x, "constant", 0)


@dataclass(frozen=True, eq=False)
class Transposition(Move):
    """Exchange rows and columns of all images of a batch, which share one size, if `is_applied`, else of none."""

    is_applied: bool

    def apply(self, x: Tensor, fill: Fill, value: float) -> Tensor:
        """Return x (N, C, H, W) as (N, C, W, H) if transposed; `fill` is not used."""
        return x.mT.contiguous() if self.is_applied else x

    def points(self, positions: Tensor) -> Tensor:
        """Return the points with x and y exchanged if transposed."""
        return positions.flip(2) if self.is_applied else positions


def random_transposition(x: Tensor, rng: torch.Generator) -> Transposition:
    """Draw whether the images of x (N, C, H, W) are transposed, with probability 1/2."""
    h, w = x.shape[2:]
    is_transposed = bool(random_booleans(1, 0.5, rng, x))
    return Transposition((w, h) if is_transposed else (h, w), is_transposed)


@dataclass(frozen=True, eq=False)
class Window(Move):
    """Cut a window out of every image. start: (N, 2), its first row and column, which may be outside the image."""

    start: Tensor

    def apply(self, x: Tensor, fill: Fill, value: float) -> Tensor:
        """Return the windows (N, C, H', W') of x; no pixel is interpolated."""
        check_fill(fill)
        n, channels, h, w = x.shape
        rows, columns = self.size
        i = self.start[:, 0, None] + torch.arange(rows, device=x.device)  # (N, H'), may lie outside the image
        j = self.start[:, 1, None] + torch.arange(columns, device=x.device)  # (N, W')
        source = _map_inside(i, h, fill)[:, :, None] * w + _map_inside(j, w, fill)[:, None, :]  # (N, H', W')
        y = x.flatten(2).gather(2, source.flatten(1)[:, None].expand(-1, channels, -1)).view(n, channels, rows, columns)
        if fill == "constant":
            is_inside = ((i >= 0) & (i < h))[:, None, :, None] & ((j >= 0) & (j < w))[:, None, None, :]
            y = torch.where(is_inside, y, value)
        return y

    def points(self, positions: Tensor) -> Tensor:
        """Return the points relative to the windows' upper left corners."""
        return positions - self.start.flip(1)[:, None].to(positions.dtype)


def _map_inside(i: Tensor, n: int, fill: Fill) -> Tensor:
    """Map indices to 0..n-1: clamped, mirrored about the edges, or modulo n."""
    if fill == "wrap":
        return i % n
    if fill == "reflect":
        i = i % (2 * n)
        return torch.minimum(i, 2 * n - 1 - i)
    return i.clamp(0, n - 1)


def random_window(x: Tensor, padding: int, rng: torch.Generator, size: tuple[int, int] | None = None) -> Window:
    """Draw a window of `size` (by default (H, W)) in each image of x, padded by `padding` pixels; see `random_crop`."""
    n, _, h, w = x.shape
    rows, columns = size or (h, w)
    free_pixels = torch.tensor([h + 2 * padding - rows, w + 2 * padding - columns])
    if int(free_pixels.min()) < 0:
        raise PellucidError(f"crop of {rows}x{columns} is larger than {h}x{w} padded by {padding}; make it smaller")
    start = (uniform((n, 2), 0.0, 1.0, rng, free_pixels) * (free_pixels + 1)).long().clamp_(max=free_pixels) - padding
    return Window((rows, columns), start.to(x.device))


def random_crop(
    x: Tensor,
    padding: int,
    rng: torch.Generator,
    fill: Fill = "constant",
    value: float = 0.0,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Pad each image of x (N, C, H, W) by `padding` pixels and cut a window of `size` (default (H, W)) from it.

    Every position is equally likely. fill, value: see `resample`. Raises PellucidError when the
    window is larger than the padded image.
    """
    return random_window(x, padding, rng, size).apply(x, fill, value)


def resized_crop(
    x: Tensor,
    size: tuple[int, int],
    rng: torch.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Cut a random window out of each image of x (N, C, H, W) and resize it to `size`, bilinearly.

    scale: range of the window's area relative to the image's, drawn uniformly; ratio: range of width / height, drawn
    log-uniformly. A side longer than the image's is clipped to it.
    Source: Szegedy et al. 2015, "Going deeper with convolutions", section 6.
    """
    n, _, h, w = x.shape
    u = uniform((n, 4), 0.0, 1.0, rng, x)  # for the area, the aspect, and the position in x and y
    area = h * w * (scale[0] + (scale[1] - scale[0]) * u[:, 0])
    aspect = torch.exp(math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * u[:, 1])
    box = torch.stack((torch.sqrt(area * aspect), torch.sqrt(area / aspect)), dim=1)  # (N, 2): width, height
    image_size = torch.tensor([w, h], dtype=x.dtype, device=x.device)
    box = torch.minimum(box, image_size)
    offset = (u[:, 2:] - 0.5) * (image_size - box)  # from the image's centre to the window's
    matrix = torch.diag_embed(box / torch.tensor([size[1], size[0]], dtype=x.dtype, device=x.device))
    return resample(x, matrix, offset, fill="nearest", size=size)


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Images whose quarters are windows of four images.

    sources: (N, 4), batch indices of the four source images. windows: for each of the four quarters, the windows of
    its N source images. regions: (N, 4, 4), the quarters as boxes.
    """

    sources: Tensor
    windows: tuple[Window, ...]
    regions: Tensor

    def apply(self, x: Tensor, fill: Fill, value: float) -> Tensor:
        """Return the mosaics of x (N, C, H, W); `fill` is not used, since the quarters cover the image."""
        y = torch.empty_like(x)
        for k, window in enumerate(self.windows):
            source_indices, starts, regions = (
                self.sources[:, k].tolist(),
                window.start.tolist(),
                self.regions[:, k].tolist(),
            )
            for n, (source_index, (top, left), (x0, y0, x1, y1)) in enumerate(
                zip(source_indices, starts, regions, strict=True)
            ):
                y[n, :, y0:y1, x0:x1] = x[source_index, :, top + y0 : top + y1, left + x0 : left + x1]
        return y


def pixels_inside(regions: Tensor, size: tuple[int, int]) -> Tensor:
    """Return whether the centre of each pixel is in a box: (N, H, W) bool for boxes (N, 4) and `size` (H, W)."""
    x0, y0, x1, y1 = regions[:, :, None].unbind(1)  # (N, 1) each
    rows = torch.arange(size[0], device=regions.device) + 0.5
    columns = torch.arange(size[1], device=regions.device) + 0.5
    return ((rows >= y0) & (rows < y1))[:, :, None] & ((columns >= x0) & (columns < x1))[:, None]


def random_mosaic(x: Tensor, p: float, rng: torch.Generator) -> Mosaic:
    """Draw which images of x (N, C, H, W) become mosaics, each with probability p, and their source images.

    The upper left quarter is a window of the image itself, the others are windows of random images of the batch. The
    point where the quarters meet and the positions of the windows are drawn uniformly from whole pixels; each quarter
    has at least a fifth of the height and of the width. Source: Bochkovskiy, Wang, Liao 2020, "YOLOv4", section 3.3.
    """
    n, _, h, w = x.shape
    # For each image: whether it is a mosaic; the corner (2); the other sources (3); the positions of 4 windows (8).
    u = uniform((n, 14), 0.0, 1.0, rng, x)
    image_size = torch.tensor([h, w], device=x.device)
    corner = ((_MIN_QUARTER + (1 - 2 * _MIN_QUARTER) * u[:, 1:3]) * image_size).round().long()  # (N, 2): row, column
    corner = torch.where(u[:, :1] < p, corner, image_size)
    other_sources = (u[:, 3:6] * n).long().clamp_(max=n - 1)
    sources = torch.cat((torch.arange(n, device=x.device)[:, None], other_sources), 1)
    windows: list[Window] = []
    regions: list[Tensor] = []
    for k in range(4):
        is_after = torch.tensor([k >= 2, k % 2 == 1], device=x.device)  # below, to the right
        region_start, region_end = torch.where(is_after, corner, 0), torch.where(is_after, image_size, corner)
        free_pixels = image_size - (region_end - region_start)
        window_start = torch.minimum((u[:, 6 + 2 * k : 8 + 2 * k] * (free_pixels + 1)).long(), free_pixels)
        windows.append(Window((h, w), window_start - region_start))
        regions.append(torch.cat((region_start.flip(1), region_end.flip(1)), 1))
    return Mosaic(sources, tuple(windows), torch.stack(regions, 1))
