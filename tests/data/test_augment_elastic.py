"""Elastic distortion against scipy's Gaussian filter and map_coordinates."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from pellucid.data.augment import elastic
from pellucid.data.augment.resample import random_field, smooth
from pellucid.data.seeds import generator


@pytest.mark.parametrize("sigma", [0.7, 2.0, 4.0, 9.0])
def test_smoothing_is_scipys(sigma):
    field = np.random.default_rng(0).random((3, 17, 28))
    expected = ndimage.gaussian_filter(field, sigma, axes=(1, 2), mode="constant", truncate=4.0)
    np.testing.assert_allclose(smooth(torch.tensor(field), sigma).numpy(), expected, atol=1e-12)


def test_the_picture_is_sampled_at_the_displaced_places():
    x = torch.tensor(np.random.default_rng(1).random((4, 1, 20, 24)), dtype=torch.float32)
    field = random_field(x, 30.0, 4.0, generator(3)).numpy()
    rows, columns = np.mgrid[:20, :24]
    for k in range(4):
        places = [rows + field[k, 1], columns + field[k, 0]]
        expected = ndimage.map_coordinates(x[k, 0].numpy(), places, order=1, mode="nearest")
        found = elastic(x, 30.0, 4.0, generator(3), fill="nearest")[k, 0].numpy()
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_the_field_is_as_strong_as_simards():
    """White noise of variance alpha^2 / 3, smoothed in two dimensions, keeps 1 / (4 pi sigma^2) of it."""
    x = torch.zeros(200, 1, 64, 64)
    middle = random_field(x, 34.0, 4.0, generator(0))[:, :, 24:40, 24:40]
    expected = 34.0 / np.sqrt(3) / np.sqrt(4 * np.pi * 16)
    assert float(middle.std()) == pytest.approx(expected, rel=0.1)
    assert abs(float(middle.mean())) < 0.2  # three standard errors of 400 smooth fields


def test_fields_differ_between_pictures_and_axes():
    field = random_field(torch.zeros(2, 1, 8, 8), 5.0, 2.0, generator(0))
    assert not torch.allclose(field[0, 0], field[1, 0])
    assert not torch.allclose(field[0, 0], field[0, 1])
