"""Elastic distortion: every pixel is moved by a smooth random field."""

import torch
from torch import Tensor

from pellucid.data.augment.draw import uniform
from pellucid.data.augment.move import Fill
from pellucid.data.augment.resample import resample

_TRUNCATE = 4  # the Gaussian ends at four standard deviations


def smooth(field: Tensor, sigma: float) -> Tensor:
    """Convolve the last two axes of `field` with a Gaussian of `sigma` pixels, zero outside.

    As two matrix products, with the Gaussian in a band along the diagonal: the quickest way on a CPU for
    the sizes of pictures that networks see.
    """
    h, w = field.shape[-2:]
    return _band(h, sigma, field) @ (field @ _band(w, sigma, field))


def _band(n: int, sigma: float, like: Tensor) -> Tensor:
    """Return the symmetric (n, n) matrix g(i - j), with sum_k g(k) = 1 before it is cut at the border."""
    radius = int(_TRUNCATE * sigma + 0.5)
    at = torch.arange(-radius, radius + 1, dtype=torch.float64)
    total = torch.exp(-0.5 * (at / sigma) ** 2).sum()
    i = torch.arange(n, dtype=torch.float64)
    distance = i[:, None] - i
    g = torch.exp(-0.5 * (distance / sigma) ** 2) / total
    return torch.where(distance.abs() <= radius, g, 0.0).to(like)


def random_field(
    x: Tensor, alpha: float, sigma: float, rng: torch.Generator, size: tuple[int, int] | None = None
) -> Tensor:
    """Return displacements (N, 2, H, W) in pixels: alpha times smoothed noise, uniform in -1..1.

    size: (H, W), by default that of x.
    """
    return smooth(uniform((len(x), 2, *(size or x.shape[2:])), -alpha, alpha, rng, x), sigma)


def elastic(
    x: Tensor, alpha: float, sigma: float, rng: torch.Generator, fill: Fill = "constant", value: float = 0.0
) -> Tensor:
    """Distort each picture of x (N, C, H, W) by its own field: y(p) = x(p + d(p)).

    alpha: strength, before smoothing, in pixels; sigma: width of the Gaussian in pixels (34 and 4 suit
    29x29 digits). fill, value: see `resample`.
    Source: Simard, Steinkraus, Platt 2003, "Best practices for convolutional neural networks".
    """
    n = len(x)
    identity = torch.eye(2, dtype=x.dtype, device=x.device).expand(n, 2, 2)
    return resample(x, identity, x.new_zeros(n, 2), random_field(x, alpha, sigma, rng), fill, value)
