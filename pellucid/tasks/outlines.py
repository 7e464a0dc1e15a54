"""Edges of images at the outlines of masks and boxes: how well annotations fit their images, without a network."""

import torch
from torch import Tensor

from pellucid.data.augment.colour import grey
from pellucid.data.dataset import float_images


def edges(image: Tensor) -> Tensor:
    """Return the strength of the edges of an image (C, H, W), scaled to mean 1, (H, W)."""
    x = grey(float_images(image[None]))[0, 0]
    found = torch.zeros_like(x)
    found[:, 1:-1] += (x[:, 2:] - x[:, :-2]).abs()
    found[1:-1] += (x[2:] - x[:-2]).abs()
    return found / found.mean().clamp_min(1e-12)


def shifted_strength(edges: Tensor, outline: Tensor, most: int) -> Tensor:
    """Return the mean of the edges (H, W) at the outline (H, W), for all shifts of the outline by up to `most` pixels.

    Shape (2 * most + 1, 2 * most + 1), by shift down and shift right; no shift is in the middle.
    """
    height, width = edges.shape
    size = (height + 2 * most, width + 2 * most)
    product = torch.fft.rfft2(edges, size) * torch.fft.rfft2(outline.float(), size).conj()
    sums = torch.fft.irfft2(product, size).roll((most, most), (0, 1))[: 2 * most + 1, : 2 * most + 1]
    return sums / outline.sum().clamp_min(1)


def best_shift(strength: Tensor) -> tuple[int, int, float]:
    """Return the shift down and right of the largest strength (2 m + 1, 2 m + 1), and its ratio to that of no shift."""
    most = strength.shape[0] // 2
    down, right = divmod(int(strength.argmax()), strength.shape[1])
    return down - most, right - most, float(strength.max() / strength[most, most].clamp_min(1e-12))
