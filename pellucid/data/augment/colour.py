"""Changes to images that do not affect their targets: brightness, contrast, saturation and hue in 0..1, and cutout."""

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data.augment.move import uniform

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def brightness(x: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """Multiply each image by a factor uniform in max(0, 1-amount)..1+amount, and clip the result to 0..1."""
    return with_brightness(x, _random_factors(x, amount, rng))


def contrast(x: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """Scale each image about its mean luma by a factor uniform in max(0, 1-amount)..1+amount."""
    return with_contrast(x, _random_factors(x, amount, rng))


def saturation(x: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """Scale each image's distance to its grey version by a factor uniform in max(0, 1-amount)..1+amount."""
    return with_saturation(x, _random_factors(x, amount, rng))


def hue(x: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """Rotate the hue of each image by a fraction of the colour circle uniform in -amount..amount; amount: 0 to 0.5."""
    return with_hue(x, uniform((len(x), 1, 1), -amount, amount, rng, x))


def with_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Return factor * x, clipped to 0..1. x: (N, C, H, W); factor: (N, 1, 1, 1)."""
    return (x * factor).clamp_(0, 1)


def with_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Return m + factor * (x - m), clipped to 0..1, with m the mean luma of each image; factor: (N, 1, 1, 1)."""
    return torch.lerp(grey(x).mean(dim=(2, 3), keepdim=True), x, factor).clamp_(0, 1)


def with_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Return g + factor * (x - g), clipped to 0..1; g: luma of each pixel, x: (N, 3, H, W), factor: (N, 1, 1, 1)."""
    _check_rgb(x, "saturation")
    return torch.lerp(grey(x).expand_as(x), x, factor).clamp_(0, 1)


def with_hue(x: Tensor, turn: Tensor) -> Tensor:
    """Add `turn` (N, 1, 1), a fraction of the colour circle, to the hue of x (N, 3, H, W) in HSV space.

    Source: Smith 1978, "Color gamut transform pairs".
    """
    _check_rgb(x, "hue")
    red, green, blue = x.unbind(dim=1)  # (N, H, W) each
    value, low = x.amax(dim=1), x.amin(dim=1)
    chroma = value - low
    nonzero_chroma = torch.where(chroma == 0, 1.0, chroma)  # grey pixels have no hue; avoid 0 / 0
    h = torch.where(
        value == red,
        (green - blue) / nonzero_chroma,
        torch.where(value == green, 2 + (blue - red) / nonzero_chroma, 4 + (red - green) / nonzero_chroma),
    )  # hue in sixths of the colour circle
    h = h + 6 * turn
    # Channel n of (5, 3, 1) is value - chroma * clip(min(k, 4 - k), 0, 1) with k = (n + h) mod 6.
    channels: list[Tensor] = []
    for n in (5, 3, 1):
        k = torch.remainder(h + n, 6)
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1))
    return torch.stack(channels, dim=1)


def grey(x: Tensor) -> Tensor:
    """Return the luma (N, 1, H, W) of RGB images; images with one channel are returned unchanged.

    Raises PellucidError for any other number of channels.
    """
    if x.shape[1] == 1:
        return x
    _check_rgb(x, "contrast")
    red, green, blue = x.unbind(dim=1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)[:, None]


def _random_factors(x: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    return uniform((len(x), 1, 1, 1), max(0.0, 1 - amount), 1 + amount, rng, x)


def _check_rgb(x: Tensor, name: str) -> None:
    if x.shape[1] != 3:
        raise PellucidError(f"{name} needs images with 3 channels, got shape {tuple(x.shape)}; leave it out")


def cutout(x: Tensor, side: int, rng: torch.Generator) -> Tensor:
    """Cover a square of `side` pixels in each image of x (N, C, H, W) with the image's mean colour.

    The centre is drawn uniformly from all pixels, so part of the square may lie outside the image.
    Raises PellucidError for a side below 1. Source: DeVries and Taylor 2017, section 3.2.
    """
    if side < 1:
        raise PellucidError(f"cutout: side is {side}; give 1 pixel or more")
    n, _, h, w = x.shape
    first_pixel = (
        uniform((n, 2), 0.0, 1.0, rng, x) * torch.tensor([h, w], device=x.device)
    ).long() - side // 2  # (N, 2)
    is_row_covered = _in_interval(first_pixel[:, 0, None], side, h)  # (N, H)
    is_column_covered = _in_interval(first_pixel[:, 1, None], side, w)  # (N, W)
    is_covered = (is_row_covered[:, :, None] & is_column_covered[:, None, :])[:, None]  # (N, 1, H, W)
    return torch.where(is_covered, x.mean((2, 3), keepdim=True), x)


def _in_interval(first: Tensor, side: int, length: int) -> Tensor:
    """Return whether each of 0..length - 1 is in [first, first + side): (N, length) bool for `first` (N, 1)."""
    indices = torch.arange(length, device=first.device)
    return (indices >= first) & (indices < first + side)
