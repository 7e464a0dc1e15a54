"""Featurewise standardisation compared with NumPy in float64."""

import numpy as np
import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.data import FeatureStats


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_channels_get_zero_mean_and_unit_variance(dtype):
    x = np.random.default_rng(0).integers(3, 200, (2100, 3, 4, 5)).astype(dtype)
    x[:, 1] //= 2
    values = x.astype(np.float64) / (255 if dtype == np.uint8 else 1)
    stats = FeatureStats.fit(torch.tensor(x))
    np.testing.assert_allclose(stats.mean[:, 0, 0].numpy(), values.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(stats.std[:, 0, 0].numpy(), values.std(axis=(0, 2, 3)), rtol=1e-6)
    y = stats.apply(torch.tensor(x)).double()
    np.testing.assert_allclose(y.mean(dim=(0, 2, 3)).numpy(), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(dim=(0, 2, 3), correction=0).numpy(), 1, atol=1e-6)


def test_a_constant_channel_becomes_zero():
    x = torch.full((5, 1, 2, 2), 0.1)
    assert torch.equal(FeatureStats.fit(x).apply(x), torch.zeros_like(x))


def test_images_of_other_shapes_are_refused():
    with pytest.raises(PellucidError, match="cannot standardize"):
        FeatureStats.fit(torch.zeros(3, 4))
    with pytest.raises(PellucidError, match="do not fit"):
        FeatureStats.fit(torch.rand(2, 3, 4, 4)).apply(torch.rand(2, 1, 4, 4))
