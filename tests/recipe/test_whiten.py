"""Whitening filters: what they put out is uncorrelated, whatever went in."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pellucid.errors import PellucidError
from pellucid.recipe.whiten import FLOOR, whitening


def smooth(n: int, channels: int, seed: int = 0) -> torch.Tensor:
    """Images whose neighbouring pixels and channels are strongly alike."""
    noise = torch.randn(n, channels, 20, 20, generator=torch.Generator().manual_seed(seed))
    blurred = F.avg_pool2d(noise, 3, 1)
    return blurred + 0.5 * blurred.mean(1, keepdim=True)


@pytest.mark.parametrize(("channels", "kernel"), [(3, (2, 2)), (1, (3, 3)), (3, (1, 2))])
def test_outputs_have_covariance_one(channels: int, kernel: tuple[int, int]) -> None:
    images = smooth(400, channels)
    size = channels * kernel[0] * kernel[1]
    weight = whitening(images, size, kernel)
    assert weight.shape == (size, channels, *kernel)
    y = F.conv2d(images, weight).permute(1, 0, 2, 3).reshape(size, -1).double().numpy()
    second_moments = y @ y.T / y.shape[1]
    patches = F.unfold(images, kernel).transpose(1, 2).reshape(-1, size).double().numpy()
    variances = np.linalg.eigvalsh(patches.T @ patches / len(patches))[::-1]
    # 1, but for the floor that keeps directions of nothing but noise from being blown up.
    np.testing.assert_allclose(second_moments, np.diag(variances / (variances + FLOOR)), atol=1e-4)


def test_the_second_half_is_the_negative_of_the_first_and_the_strongest_come_first() -> None:
    images = smooth(200, 3)
    weight = whitening(images, 24, (2, 2))
    assert torch.equal(weight[12:], -weight[:12])
    strengths = [1 / float(one.norm()) for one in weight[:12]]
    assert strengths == sorted(strengths, reverse=True)
    assert torch.equal(whitening(images, 5, (2, 2)), weight[:5])


def test_more_filters_than_directions_are_refused() -> None:
    with pytest.raises(PellucidError, match="24 filters, not 25"):
        whitening(smooth(10, 3), 25, (2, 2))
