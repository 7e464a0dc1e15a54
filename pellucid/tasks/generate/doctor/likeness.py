"""How like real images samples are, which the doctor's experiments compare."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.task import HeldOutScores

NOISE_SCALE = 1e-3  # of the pixels of the mean image, so that its copies differ


def scores(samples: Sequence[Tensor], images: Sequence[Tensor]) -> HeldOutScores:
    """Return 1 minus the energy distance of samples from images, in units of that of copies of the mean image.

    The share of each image (C, H, W) in the distance, so that the mean is 1 for equal distributions. Székely and Rizzo
    2013, equation 5.
    """
    real, generated = (
        values.flatten(1).double() for values in (float_images(torch.stack([*images])), torch.stack([*samples]))
    )
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean_copies = real.mean(0, keepdim=True) + NOISE_SCALE * noise
    return HeldOutScores(
        "likeness of samples", 1 - _energy_shares(real, generated) / _energy_shares(real, mean_copies).mean()
    )


def _energy_shares(real: Tensor, generated: Tensor) -> Tensor:
    """Return the share (n,) of each real image in the energy distance from generated ones."""
    n_others = max(len(real) - 1, 1)
    mean_within = torch.cdist(real, real).sum(1) / n_others
    return 2 * torch.cdist(real, generated).mean(1) - mean_within - torch.pdist(generated).mean()
