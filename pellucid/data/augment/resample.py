"""Affine maps and elastic distortion, in one bilinear resampling of a batch."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.data.augment.move import Fill, Move, check_fill, uniform

# padding_mode of grid_sample for each fill
_PADDING = {"constant": "zeros", "nearest": "border", "reflect": "reflection"}
_MAX_ITERATIONS = 40  # of the fixed-point iteration in `Resampling.points`
_TOLERANCE = 1e-3  # pixels; the iteration ends when no point moves farther
_RADIUS_IN_STDS = 4  # radius of the Gaussian of elastic distortion, in standard deviations


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

    p and q are pixel positions (column, row); c_out and c_in are the centres of the output and input images.
    x: (N, C, H, W); matrix: (N, 2, 2); offset: (N, 2); displacement: (N, 2, H', W') or None; size: (H', W'),
    by default the size of x. Outside the image, fill "constant" gives `value` (blended at the border), "nearest"
    the border pixel, "reflect" the mirror image (d c b a | a b c d | d c b a), "wrap" the image repeated.
    Floats are interpolated bilinearly; integers and bool have the nearest pixel's value. Coordinates follow
    grid_sample with align_corners=False: -1 and 1 are the outer edges.
    """
    check_fill(fill)
    n, _, h, w = x.shape
    rows, columns = size or (h, w)
    dtype, mode = x.dtype, "bilinear" if x.is_floating_point() else "nearest"
    if mode == "nearest":  # a float of twice the size represents every class exactly
        x = x.to(torch.float32 if x.element_size() <= 2 else torch.float64)
    # Column u is u - (w - 1) / 2 pixels from the centre; multiplied by 2 / w, this is its grid coordinate.
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
        y = _sample_periodic(x, grid, mode)
    elif fill == "constant" and value != 0:
        y = F.grid_sample(x - value, grid, mode, "zeros", align_corners=False).add_(value)
    else:
        y = F.grid_sample(x, grid, mode, _PADDING[fill], align_corners=False)
    return y.to(dtype)


def _sample_periodic(x: Tensor, grid: Tensor, mode: str) -> Tensor:
    """Sample x repeated periodically: positions modulo its size, on x extended by its first row and column."""
    h, w = x.shape[2:]
    extended = F.pad(x, (0, 1, 0, 1), mode="circular")  # (N, C, H + 1, W + 1)
    size = torch.tensor([w, h], dtype=x.dtype, device=x.device)
    position = torch.remainder(((grid + 1) * size - 1) / 2, size)  # pixels, in [0, size)
    return F.grid_sample(extended, (2 * position + 1) / (size + 1) - 1, mode, "border", align_corners=False)


@dataclass(frozen=True, eq=False)
class Resampling(Move):
    """`resample` with these arguments; shape: (H, W) of the input images."""

    shape: tuple[int, int]
    matrix: Tensor
    offset: Tensor
    displacement: Tensor | None

    def apply(self, x: Tensor, fill: Fill, value: float) -> Tensor:
        """Return x resampled."""
        return resample(x, self.matrix, self.offset, self.displacement, fill, value, self.size)

    def points(self, positions: Tensor) -> Tensor:
        """Solve q = matrix r + offset + d(r) for r, where q and r are relative to the centres of the images.

        The displacement d is a function of r, so r is found by fixed-point iteration, to a small fraction of a pixel
        wherever d does not fold the image.
        """
        (h, w), (rows, columns) = self.shape, self.size
        q = positions - positions.new_tensor([w / 2, h / 2]) - self.offset[:, None]  # (N, k, 2)
        inverse = torch.linalg.inv(self.matrix).mT
        r = q @ inverse
        if self.displacement is not None:
            scale = positions.new_tensor([2 / columns, 2 / rows])
            for _ in range(_MAX_ITERATIONS):
                grid = (r * scale)[:, None]  # (N, 1, k, 2)
                d = F.grid_sample(self.displacement, grid, padding_mode="border", align_corners=False)[:, :, 0].mT
                step = (q - d) @ inverse - r
                r = r + step / 2  # half a step converges wherever the displacement does not fold the image
                if not bool((step.abs() > _TOLERANCE).any()):
                    break
        return r + positions.new_tensor([columns / 2, rows / 2])


def affine_map(angle: Tensor, shift: Tensor, shear: Tensor, zoom: Tensor) -> tuple[Tensor, Tensor]:
    """Return matrix (N, 2, 2) and offset (N, 2) for `resample`, from output to input pixels.

    Each image is sheared, enlarged, rotated about its centre, then shifted. angle: (N,) degrees, positive
    counter-clockwise on the screen; shift: (N, 2) pixels to the right and down; shear: (N,) degrees, positive moves
    lower rows to the right; zoom: factors (N,), or (N, 2) for width and height; above 1 enlarges. With rotation R,
    zoom Z, shear S, F = R Z S and shift t, the map is p -> F^-1 (p - t).
    """
    a, s = torch.deg2rad(angle), torch.tan(torch.deg2rad(shear))
    zoom_x, zoom_y = (zoom[:, 0], zoom[:, 1]) if zoom.dim() == 2 else (zoom, zoom)
    # Z^-1 R^-1 = ((cos / zoom_x, -sin / zoom_x), (sin / zoom_y, cos / zoom_y)), rows down; S^-1 = ((1, -s), (0, 1)).
    cos, sin = torch.cos(a), torch.sin(a)
    lower = torch.stack((sin / zoom_y, cos / zoom_y), dim=1)
    upper = torch.stack((cos / zoom_x, -sin / zoom_x), dim=1) - s[:, None] * lower
    matrix = torch.stack((upper, lower), dim=1)  # (N, 2, 2)
    return matrix, -(matrix @ shift[:, :, None])[:, :, 0]


def random_affine(
    x: Tensor,
    rng: torch.Generator,
    rotate: float = 0.0,
    shift: float = 0.0,
    shear: float = 0.0,
    zoom: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    size: tuple[int, int] | None = None,
    aspect: float = 0.0,
) -> Resampling:
    """Draw an `affine_map` for every image of x (N, C, H, W).

    rotate, shift, shear, zoom: see `affine`; their random numbers are drawn even if they are 0. scale: range of a
    uniform factor. size: (H', W') of a window at a random whole-pixel position in the scaled image, or of a canvas in
    which a smaller image is placed; by default the size of x. Without scale and size, no position is drawn. aspect:
    width / height changes by a factor log-uniform in 1 / (1 + aspect)..1 + aspect; the area is unchanged.
    """
    n, _, h, w = x.shape
    u = uniform((n, 5), -1.0, 1.0, rng, x)  # for the angle, the shift in x and y, the shear, the zoom
    image_size = torch.tensor([w, h], dtype=x.dtype, device=x.device)
    pixels, factor = u[:, 1:3] * shift * image_size, 1 + u[:, 4] * zoom
    if size or scale != (1.0, 1.0):
        v = uniform((n, 3), 0.0, 1.0, rng, x)  # for the scale, and the window's position in x and y
        factor = factor * (scale[0] + (scale[1] - scale[0]) * v[:, 0])
        factor = _side_factors(factor, aspect, rng)
        rows, columns = size or (h, w)
        free_pixels = factor * image_size - torch.tensor([columns, rows], dtype=x.dtype, device=x.device)  # (N, 2)
        n_positions = free_pixels.abs().floor()
        window_start = torch.minimum((v[:, 1:] * (n_positions + 1)).floor(), n_positions) * free_pixels.sign()
        pixels = pixels + free_pixels / 2 - window_start
    else:
        factor = _side_factors(factor, aspect, rng)
    matrix, offset = affine_map(u[:, 0] * rotate, pixels, u[:, 3] * shear, factor)
    return Resampling(size or (h, w), (h, w), matrix, offset, None)


def _side_factors(factor: Tensor, aspect: float, rng: torch.Generator) -> Tensor:
    """Return factors (N, 2) of width and height from factors (N,); nothing is drawn if `aspect` is 0."""
    if not aspect:
        return factor[:, None].expand(-1, 2)
    root = torch.exp(uniform((len(factor),), -1.0, 1.0, rng, factor) * (math.log1p(aspect) / 2))
    return torch.stack((factor * root, factor / root), 1)


def affine(
    x: Tensor,
    rng: torch.Generator,
    rotate: float = 0.0,
    shift: float = 0.0,
    shear: float = 0.0,
    zoom: float = 0.0,
    fill: Fill = "constant",
    value: float = 0.0,
) -> Tensor:
    """Transform every image of x (N, C, H, W) by its own affine map, in one bilinear resampling.

    rotate: degrees, uniform in -rotate..rotate; shift: fractions of width and height, likewise; shear:
    degrees, likewise; zoom: factor uniform in 1-zoom..1+zoom. fill, value: see `resample`.
    """
    return random_affine(x, rng, rotate, shift, shear, zoom).apply(x, fill, value)


def rotate(x: Tensor, degrees: float, rng: torch.Generator, fill: Fill = "constant", value: float = 0.0) -> Tensor:
    """Rotate each image about its centre by an angle uniform in -degrees..degrees."""
    return affine(x, rng, rotate=degrees, fill=fill, value=value)


def shift(x: Tensor, fraction: float, rng: torch.Generator, fill: Fill = "constant", value: float = 0.0) -> Tensor:
    """Shift each image by fractions of its width and height, uniform in -fraction..fraction."""
    return affine(x, rng, shift=fraction, fill=fill, value=value)


def shear(x: Tensor, degrees: float, rng: torch.Generator, fill: Fill = "constant", value: float = 0.0) -> Tensor:
    """Shear each image along its rows by an angle uniform in -degrees..degrees."""
    return affine(x, rng, shear=degrees, fill=fill, value=value)


def zoom(x: Tensor, fraction: float, rng: torch.Generator, fill: Fill = "constant", value: float = 0.0) -> Tensor:
    """Scale each image about its centre by a factor uniform in 1-fraction..1+fraction."""
    return affine(x, rng, zoom=fraction, fill=fill, value=value)


def smooth(field: Tensor, sigma: float) -> Tensor:
    """Convolve the last two axes of `field` with a Gaussian of standard deviation `sigma` pixels, with zero padding.

    Computed as two products with banded matrices, which is fastest on a CPU for common image sizes.
    """
    h, w = field.shape[-2:]
    return _gaussian_band(h, sigma, field) @ (field @ _gaussian_band(w, sigma, field))


def _gaussian_band(n: int, sigma: float, like: Tensor) -> Tensor:
    """Return the symmetric (n, n) matrix g(i - j) of a Gaussian g with sum 1 over an unbounded axis."""
    radius = int(_RADIUS_IN_STDS * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    total = torch.exp(-0.5 * (offsets / sigma) ** 2).sum()
    i = torch.arange(n, dtype=torch.float64)
    distance = i[:, None] - i
    g = torch.exp(-0.5 * (distance / sigma) ** 2) / total
    return torch.where(distance.abs() <= radius, g, 0.0).to(like)


def random_field(
    x: Tensor, alpha: float, sigma: float, rng: torch.Generator, size: tuple[int, int] | None = None
) -> Tensor:
    """Return displacements (N, 2, H, W) in pixels: noise, uniform in -alpha..alpha, that is then smoothed.

    size: (H, W), by default the size of x.
    """
    return smooth(uniform((len(x), 2, *(size or x.shape[2:])), -alpha, alpha, rng, x), sigma)


def elastic(
    x: Tensor, alpha: float, sigma: float, rng: torch.Generator, fill: Fill = "constant", value: float = 0.0
) -> Tensor:
    """Distort each image of x (N, C, H, W) by its own field: y(p) = x(p + d(p)).

    alpha: strength before smoothing, in pixels; sigma: standard deviation of the Gaussian in pixels (34 and 4 suit
    29x29 digits). fill, value: see `resample`.
    Source: Simard, Steinkraus, Platt 2003, "Best practices for convolutional neural networks".
    """
    n = len(x)
    identity = torch.eye(2, dtype=x.dtype, device=x.device).expand(n, 2, 2)
    return resample(x, identity, x.new_zeros(n, 2), random_field(x, alpha, sigma, rng), fill, value)
