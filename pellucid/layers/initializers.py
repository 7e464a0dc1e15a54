"""Initializers: functions that draw the initial values of weights and biases."""
# Some PyTorch functions have no type annotations.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from pellucid.base.settings.checks import check_known

if TYPE_CHECKING:
    from pellucid.layers.base import Shape


def zeros(shape: Shape, fan_in: int, fan_out: int, rng: torch.Generator) -> Tensor:
    """Return zeros."""
    return torch.zeros(shape)


def normal(shape: Shape, fan_in: int, fan_out: int, rng: torch.Generator) -> Tensor:
    """Draw from N(0, 1)."""
    return torch.randn(shape, generator=rng)


def scaled(shape: Shape, fan_in: int, fan_out: int, rng: torch.Generator) -> Tensor:
    """Draw from N(0, 1 / n_in), so sigmoid neurons do not saturate (Nielsen 2015, chapter 3)."""
    return torch.randn(shape, generator=rng) / math.sqrt(fan_in)


def xavier(shape: Shape, fan_in: int, fan_out: int, rng: torch.Generator) -> Tensor:
    """Draw from U(-b, b), b = sqrt(6 / (n_in + n_out)) (Glorot and Bengio 2010, equation 16)."""
    return _uniform(shape, math.sqrt(6 / (fan_in + fan_out)), rng)


def he(shape: Shape, fan_in: int, fan_out: int, rng: torch.Generator) -> Tensor:
    """Draw from N(0, 2 / n_in), for layers followed by ReLU (He et al. 2015, equation 10)."""
    return torch.randn(shape, generator=rng) * math.sqrt(2 / fan_in)


def lecun(shape: Shape, fan_in: int, fan_out: int, rng: torch.Generator) -> Tensor:
    """Draw from the uniform distribution with variance 1 / n_in (LeCun et al. 1998, Efficient BackProp, 4.6)."""
    return _uniform(shape, math.sqrt(3 / fan_in), rng)


def gan(shape: Shape, fan_in: int, fan_out: int, rng: torch.Generator) -> Tensor:
    """Draw from N(0, 0.02²), for networks with batch normalization and Adam (Radford et al. 2016, section 4)."""
    return torch.randn(shape, generator=rng) * 0.02


def orthogonal(shape: Shape, fan_in: int, fan_out: int, rng: torch.Generator) -> Tensor:
    """Return weights that are orthonormal as a matrix (shape[0], product of the other sizes) (Saxe et al. 2013)."""
    rows, columns = shape[0], math.prod(shape[1:])
    normal = torch.randn(max(rows, columns), min(rows, columns), generator=rng)
    q, r = cast("tuple[Tensor, Tensor]", torch.linalg.qr(normal))
    # The distribution is only uniform if the signs of R's diagonal are positive.
    q = q * torch.where(r.diagonal() < 0, -1.0, 1.0)
    return (q if rows >= columns else q.T).reshape(shape).contiguous()


def dirac(shape: Shape, fan_in: int, fan_out: int, rng: torch.Generator) -> Tensor:
    """Return kernels of which each copies one input channel; kernels beyond the number of channels are drawn by `he`.

    shape: (filters, channels, kH, kW), or (units, features), in which rows are treated as kernels of one pixel.
    Source: Zagoruyko and Komodakis 2017, "DiracNets", section 3.
    """
    weight = he(shape, fan_in, fan_out, rng)
    n_copied = min(shape[:2])
    kernels = weight.view(*shape[:2], -1)  # shares memory with `weight`
    kernels[:n_copied] = 0.0
    centre_index = sum((size // 2) * math.prod(shape[axis + 1 :]) for axis, size in enumerate(shape) if axis >= 2)
    kernels[range(n_copied), range(n_copied), centre_index] = 1.0
    return weight


def bilinear(shape: Shape, fan_in: int, fan_out: int, rng: torch.Generator) -> Tensor:
    """Return kernels of a ConvTranspose2d, (C, C or 1, kH, kW), that upsample each channel by bilinear interpolation.

    A kernel of size k is for a stride of (k + 1) // 2. With odd k, pixel i of the input is aligned with pixel
    i * stride of the output; with even k, it is aligned with the centre of the corresponding `stride` output pixels.
    Source: Long, Shelhamer and Darrell 2015, section 3.3.
    """
    window = torch.ones(())
    for k in shape[2:]:
        window = window[..., None] * (1 - (torch.arange(k) - (k - 1) / 2).abs() / ((k + 1) // 2))
    weight = torch.zeros(shape)
    channels = torch.arange(shape[0])
    weight[channels, channels % shape[1]] = window
    return weight


def _uniform(shape: Shape, bound: float, rng: torch.Generator) -> Tensor:
    return (torch.rand(shape, generator=rng) * 2 - 1) * bound


INITIALIZERS: dict[str, Callable[[Shape, int, int, torch.Generator], Tensor]] = {
    "zeros": zeros,
    "normal": normal,
    "scaled": scaled,
    "xavier": xavier,
    "he": he,
    "lecun": lecun,
    "gan": gan,
    "orthogonal": orthogonal,
    "dirac": dirac,
    "bilinear": bilinear,
}


def check_initializer(layer_name: str, name: str) -> None:
    """Raise PellucidError for an unknown initializer, with the nearest name as a hint."""
    check_known(f"{layer_name}: no initializer", name, INITIALIZERS)


def draw(name: str, shape: Shape, fan_in: int, fan_out: int, rng: torch.Generator) -> Tensor:
    """Draw a float32 tensor of `shape` with the initializer `name`; on the device "meta", nothing is drawn."""
    if torch.empty(0).device.type == "meta":
        return torch.empty(shape)  # drawing on "meta" would import torch._dynamo, which takes seconds
    return INITIALIZERS[name](shape, fan_in, fan_out, rng)
