"""Random rotation, shift, shear and zoom, composed into one resampling."""

import torch
from torch import Tensor

from pellucid.data.augment.draw import uniform
from pellucid.data.augment.resample import Fill, resample


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


def random_map(
    x: Tensor, rotate: float, shift: float, shear: float, zoom: float, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw an `affine_map` for every picture of x; the numbers drawn do not depend on which are in use."""
    n, _, h, w = x.shape
    u = uniform((n, 5), -1.0, 1.0, rng, x)
    pixels = u[:, 1:3] * shift * torch.tensor([w, h], dtype=x.dtype, device=x.device)
    return affine_map(u[:, 0] * rotate, pixels, u[:, 3] * shear, 1 + u[:, 4] * zoom)


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
    return resample(x, *random_map(x, rotate, shift, shear, zoom, rng), fill=fill, value=value)


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
