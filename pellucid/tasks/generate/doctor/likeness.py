"""How like real images samples are, which the doctor's experiments compare."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.task import HeldOutScores

NOISE = 1e-3  # of the pixels of the mean image, so that its copies differ


def scores(samples: Sequence[Tensor], images: Sequence[Tensor]) -> HeldOutScores:
    """Return 1 minus the energy distance of samples from images, in units of that of copies of the mean image.

    The share of each image (C, H, W) in the distance, so that the mean is 1 for equal distributions. Székely and Rizzo
    2013, equation 5.
    """
    real, generated = (
        part.flatten(1).double() for part in (float_images(torch.stack([*images])), torch.stack([*samples]))
    )
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    blank = real.mean(0, keepdim=True) + NOISE * noise
    return HeldOutScores("likeness of samples", 1 - _shares(real, generated) / _shares(real, blank).mean())


def _shares(real: Tensor, generated: Tensor) -> Tensor:
    """Return the share (n,) of each real image in the energy distance from generated ones."""
    others = max(len(real) - 1, 1)
    within = torch.cdist(real, real).sum(1) / others
    return 2 * torch.cdist(real, generated).mean(1) - within - torch.pdist(generated).mean()
