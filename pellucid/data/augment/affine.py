"""Random rotation, shift, shear and zoom, composed into one resampling."""

import torch
from torch import Tensor

from pellucid.data.augment.draw import uniform
from pellucid.data.augment.move import Fill
from pellucid.data.augment.resample import Resampling


def affine_map(angle: Tensor, shift: Tensor, shear: Tensor, zoom: Tensor) -> tuple[Tensor, Tensor]:
    """Return matrix (N, 2, 2) and offset (N, 2) for `resample`, from output to input pixels.

    Each picture is sheared, enlarged, rotated about its centre, then shifted. angle: (N,) degrees, positive
    counter-clockwise as seen; shift: (N, 2) pixels to the right and down; shear: (N,) degrees, positive moves
    lower rows to the right; zoom: (N,) factors, above 1 enlarges. With F = R Z S the map is p -> F^-1 (p - t).
    """
    a, s = torch.deg2rad(angle), torch.tan(torch.deg2rad(shear))
    cos, sin = torch.cos(a) / zoom, torch.sin(a) / zoom  # Z^-1 R^-1 = ((cos, -sin), (sin, cos)) / zoom, rows down
    row = torch.stack((cos - s * sin, -sin - s * cos), dim=1)  # S^-1 = ((1, -s), (0, 1))
    matrix = torch.stack((row, torch.stack((sin, cos), dim=1)), dim=1)  # (N, 2, 2)
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
) -> Resampling:
    """Draw an `affine_map` for every picture of x (N, C, H, W).

    The first numbers drawn do not depend on what is in use. rotate, shift, shear, zoom: see `affine`. scale: the least
    and the largest factor, uniform between them. size: (H', W') of a window drawn on the scaled picture, or that a
    smaller picture is drawn in, at whole pixels; by default that of x. Without scale and size there is no window.
    """
    n, _, h, w = x.shape
    u = uniform((n, 5), -1.0, 1.0, rng, x)
    whole = torch.tensor([w, h], dtype=x.dtype, device=x.device)
    pixels, factor = u[:, 1:3] * shift * whole, 1 + u[:, 4] * zoom
    if size or scale != (1.0, 1.0):
        v = uniform((n, 3), 0.0, 1.0, rng, x)
        factor = factor * (scale[0] + (scale[1] - scale[0]) * v[:, 0])
        rows, columns = size or (h, w)
        spare = factor[:, None] * whole - torch.tensor([columns, rows], dtype=x.dtype, device=x.device)  # (N, 2)
        steps = spare.abs().floor()
        first = torch.minimum((v[:, 1:] * (steps + 1)).floor(), steps) * spare.sign()
        pixels = pixels + spare / 2 - first
    matrix, offset = affine_map(u[:, 0] * rotate, pixels, u[:, 3] * shear, factor)
    return Resampling(size or (h, w), (h, w), matrix, offset, None)


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
    """Transform every picture of x (N, C, H, W) by its own affine map, in one bilinear resampling.

    rotate: degrees, uniform in -rotate..rotate; shift: fractions of width and height, likewise; shear:
    degrees, likewise; zoom: factor uniform in 1-zoom..1+zoom. fill, value: see `resample`.
    """
    return random_affine(x, rng, rotate, shift, shear, zoom).apply(x, fill, value)


def rotate(x: Tensor, degrees: float, rng: torch.Generator, fill: Fill = "constant", value: float = 0.0) -> Tensor:
    """Rotate each picture about its centre by an angle uniform in -degrees..degrees."""
    return affine(x, rng, rotate=degrees, fill=fill, value=value)


def shift(x: Tensor, fraction: float, rng: torch.Generator, fill: Fill = "constant", value: float = 0.0) -> Tensor:
    """Shift each picture by fractions of its width and height, uniform in -fraction..fraction."""
    return affine(x, rng, shift=fraction, fill=fill, value=value)


def shear(x: Tensor, degrees: float, rng: torch.Generator, fill: Fill = "constant", value: float = 0.0) -> Tensor:
    """Shear each picture along its rows by an angle uniform in -degrees..degrees."""
    return affine(x, rng, shear=degrees, fill=fill, value=value)


def zoom(x: Tensor, fraction: float, rng: torch.Generator, fill: Fill = "constant", value: float = 0.0) -> Tensor:
    """Scale each picture about its centre by a factor uniform in 1-fraction..1+fraction."""
    return affine(x, rng, zoom=fraction, fill=fill, value=value)
