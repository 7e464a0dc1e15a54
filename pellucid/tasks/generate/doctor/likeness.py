"""The likeness of samples and real images: the score that the doctor's experiments compare for generators."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data.dataset import float_images
from pellucid.task import HeldOutScores

MIN_IMAGES = 2  # the energy distance contains distances between different samples
NOISE_SCALE = 1e-3  # standard deviation of the noise that is added to copies of the mean image so that they differ


def scores(samples: Sequence[Tensor], images: Sequence[Tensor]) -> HeldOutScores:
    """Return 1 - d / d0 for each real image.

    d: the image's contribution to the energy distance between the samples and the images, which is the mean of all d.
    d0: the energy distance if the samples were copies of the mean image. The mean score is 0 for such copies; its
    expected value is 1 if samples and images have the same distribution. Scores of single images may be below 0 or
    above 1. samples, images: (C, H, W) each. Raises PellucidError for fewer than two of either.
    Source: Székely and Rizzo 2013, equation 5.
    """
    if (count := min(len(samples), len(images))) < MIN_IMAGES:
        raise PellucidError(f"the likeness of samples needs at least {MIN_IMAGES} images, not {count}")
    real, generated = (
        values.flatten(1).double() for values in (float_images(torch.stack([*images])), torch.stack([*samples]))
    )
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean_copies = real.mean(0, keepdim=True) + NOISE_SCALE * noise
    return HeldOutScores(
        "likeness of samples", 1 - _contributions(real, generated) / _contributions(real, mean_copies).mean()
    )


def _contributions(real: Tensor, generated: Tensor) -> Tensor:
    """Return the contribution (n,) of each real image to the energy distance between real and generated images."""
    mean_within = torch.cdist(real, real).sum(1) / (len(real) - 1)
    return 2 * torch.cdist(real, generated).mean(1) - mean_within - torch.pdist(generated).mean()
