"""Colour changes against Pillow's, and hue against Python's own colorsys."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from pellucid.data.augment import brightness, contrast, hue, saturation
from pellucid.data.augment.colour import with_brightness, with_contrast, with_hue, with_saturation
from pellucid.data.seeds import generator
from pellucid.errors import PellucidError

FACTORS = [0.0, 0.4, 1.0, 1.7]


def batch(picture: np.ndarray) -> torch.Tensor:
    return torch.tensor(picture).permute(2, 0, 1)[None] / 255


def pixels(x: torch.Tensor) -> np.ndarray:
    return x[0].permute(1, 2, 0).numpy() * 255


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(
    ("change", "enhance"),
    [
        (with_brightness, ImageEnhance.Brightness),
        (with_contrast, ImageEnhance.Contrast),
        (with_saturation, ImageEnhance.Color),
    ],
)
def test_known_factors_are_pillows(noise, change, enhance, factor):
    expected = np.asarray(enhance(Image.fromarray(noise)).enhance(factor), np.float32)
    found = pixels(change(batch(noise), torch.full((1, 1, 1, 1), factor)))
    np.testing.assert_allclose(found, expected, atol=1.6)  # Pillow rounds in between


@pytest.mark.parametrize("turn", [-0.5, -0.13, 0.0, 0.2, 0.5])
def test_known_turns_are_colorsys(noise, turn):
    noise[0, 0] = noise[0, 0, 0]  # a grey pixel has no hue
    noise[0, 1] = 0
    found = pixels(with_hue(batch(noise), torch.full((1, 1, 1), turn))) / 255
    for row, found_row in zip(noise, found, strict=True):
        for pixel, found_pixel in zip(row, found_row, strict=True):
            h, s, v = colorsys.rgb_to_hsv(*(pixel / 255))
            np.testing.assert_allclose(found_pixel, colorsys.hsv_to_rgb((h + turn) % 1.0, s, v), atol=1e-5)


def test_brightness_factors_fill_their_range():
    x = torch.full((4000, 1, 1, 1), 0.5)
    factor = brightness(x, 0.3, generator(0)).flatten() / 0.5
    assert 0.7 <= float(factor.min()) < 0.701
    assert 1.299 < float(factor.max()) <= 1.3
    assert float(factor.mean()) == pytest.approx(1, abs=0.01)


def test_hue_turns_fill_their_range():
    x = torch.tensor([0.5, 0.5, 0.5]).reshape(1, 3, 1, 1).repeat(2000, 1, 1, 1)
    x[:, 0] = 1.0  # hue 0
    turned = hue(x, 0.1, generator(0))
    hues = [(colorsys.rgb_to_hsv(*p.tolist())[0] + 0.5) % 1 - 0.5 for p in turned.flatten(1)]
    assert -0.1001 < min(hues) < -0.099
    assert 0.099 < max(hues) < 0.1001


@pytest.mark.parametrize("change", [brightness, contrast, saturation])
def test_results_stay_in_range_and_pictures_differ(noise, change):
    x = batch(noise).repeat(20, 1, 1, 1)
    y = change(x, 3.0, generator(0))
    assert float(y.min()) >= 0
    assert float(y.max()) <= 1
    assert not torch.allclose(y[0], y[1])
    assert torch.equal(x[0], x[1])


@pytest.mark.parametrize("change", [saturation, hue])
def test_colour_needs_colour(change):
    with pytest.raises(PellucidError, match=r"3 channels, got shape \(2, 1, 4, 4\)"):
        change(torch.zeros(2, 1, 4, 4), 0.1, generator(0))
    with pytest.raises(PellucidError, match="3 channels"):
        contrast(torch.zeros(2, 4, 4, 4), 0.1, generator(0))
