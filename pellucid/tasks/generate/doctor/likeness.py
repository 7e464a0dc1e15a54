"""The likeness of samples and real images: the score that the doctor's experiments compare for generators."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.task import HeldOutScores

NOISE_SCALE = 1e-3  # standard deviation of the noise that is added to copies of the mean image so that they differ


def scores(samples: Sequence[Tensor], images: Sequence[Tensor]) -> HeldOutScores:
    """Return 1 - d / d0 for each real image, whose mean is 1 if samples and images have the same distribution.

    d: the share of the image in the energy distance of the samples from the images. d0: the mean of these shares for
    copies of the mean image as samples. samples, images: (C, H, W) each. Székely and Rizzo 2013, equation 5.
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
    """Return the share (n,) of each real image in the energy distance between real and generated images."""
    n_others = max(len(real) - 1, 1)
    mean_within = torch.cdist(real, real).sum(1) / n_others
    return 2 * torch.cdist(real, generated).mean(1) - mean_within - torch.pdist(generated).mean()
