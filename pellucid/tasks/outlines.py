"""Edges of images at the outlines of masks and boxes, which measure how well annotations fit; shifts and flips."""

from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.data.augment.colour import grey
from pellucid.data.dataset import float_images

MAX_SHIFT = 24  # pixels by which masks and images may be shifted, and at most a quarter of the image
FLIPS: dict[str, Callable[[Tensor], Tensor]] = {  # of masks or images (..., H, W)
    "mirrored": lambda target: target.flip(-1),
    "upside down": lambda target: target.flip(-2),
    "turned by 180 degrees": lambda target: target.flip(-2, -1),
}


def edges(image: Tensor) -> Tensor:
    """Return the strength of the edges of an image (C, H, W), scaled to mean 1, (H, W)."""
    x = grey(float_images(image[None]))[0, 0]
    strength = torch.zeros_like(x)
    strength[:, 1:-1] += (x[:, 2:] - x[:, :-2]).abs()
    strength[1:-1] += (x[2:] - x[:-2]).abs()
    return strength / strength.mean().clamp_min(1e-12)


def shifted_strength(edges: Tensor, outline: Tensor, max_shift: int) -> Tensor:
    """Return the mean of `edges` (H, W) at the pixels of `outline` (H, W), for its shifts by up to `max_shift` pixels.

    Shape (2 * max_shift + 1, 2 * max_shift + 1): rows for the shift down, columns for the shift right, from -max_shift
    to max_shift.
    """
    height, width = edges.shape
    size = (height + 2 * max_shift, width + 2 * max_shift)
    product = torch.fft.rfft2(edges, size) * torch.fft.rfft2(outline.float(), size).conj()
    sums = torch.fft.irfft2(product, size).roll((max_shift, max_shift), (0, 1))[
        : 2 * max_shift + 1, : 2 * max_shift + 1
    ]
    return sums / outline.sum().clamp_min(1)


def best_shift(strength: Tensor) -> tuple[int, int, float]:
    """Return the shift down, the shift right, and the ratio of the largest strength to the strength without shift.

    strength: (2 m + 1, 2 m + 1), as returned by `shifted_strength`.
    """
    max_shift = strength.shape[0] // 2
    down, right = divmod(int(strength.argmax()), strength.shape[1])
    return down - max_shift, right - max_shift, float(strength.max() / strength[max_shift, max_shift].clamp_min(1e-12))


def shift_by(down: int, right: int) -> Callable[[Tensor, tuple[int, ...]], Tensor]:
    """Return a function that shifts a mask or an image (..., H, W), padding it with its border pixels."""

    def apply(target: Tensor, size: tuple[int, ...]) -> Tensor:
        rows, columns = (
            (torch.arange(size_of_axis) - shift).clamp(0, size_of_axis - 1)
            for size_of_axis, shift in zip(target.shape[-2:], (down, right), strict=True)
        )
        return target[..., rows, :][..., columns]

    return apply


def shift_text(down: int, right: int) -> str:
    """Return a shift as text, such as "5 pixels to the left and 3 down"."""
    sides = ("left" if right < 0 else "right", "up" if down < 0 else "down")
    return f"{abs(right)} pixels to the {sides[0]} and {abs(down)} {sides[1]}"
