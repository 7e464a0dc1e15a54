"""Colour augmentation compared with Pillow, hue compared with Python's colorsys, and cutout."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from pellucid.base.errors import PellucidError
from pellucid.data import Augment
from pellucid.data.augment import brightness, contrast, hue, saturation
from pellucid.data.augment.colour import cutout, with_brightness, with_contrast, with_hue, with_saturation
from pellucid.data.seeds import generator

FACTORS = [0.0, 0.4, 1.0, 1.7]


def image_batch(picture: np.ndarray) -> torch.Tensor:
    return torch.tensor(picture).permute(2, 0, 1)[None] / 255


def pixel_values(x: torch.Tensor) -> np.ndarray:
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
def test_brightness_contrast_and_saturation_equal_pillows(noise_image, change, enhance, factor):
    expected = np.asarray(enhance(Image.fromarray(noise_image)).enhance(factor), np.float32)
    actual = pixel_values(change(image_batch(noise_image), torch.full((1, 1, 1, 1), factor)))
    np.testing.assert_allclose(actual, expected, atol=1.6)  # Pillow rounds intermediate values


@pytest.mark.parametrize("turn", [-0.5, -0.13, 0.0, 0.2, 0.5])
def test_hue_turns_equal_colorsys(noise_image, turn):
    noise_image[0, 0] = noise_image[0, 0, 0]  # a grey pixel has no hue
    noise_image[0, 1] = 0
    result = pixel_values(with_hue(image_batch(noise_image), torch.full((1, 1, 1), turn))) / 255
    for row, found_row in zip(noise_image, result, strict=True):
        for pixel, found_pixel in zip(row, found_row, strict=True):
            h, s, v = colorsys.rgb_to_hsv(*(pixel / 255))
            np.testing.assert_allclose(found_pixel, colorsys.hsv_to_rgb((h + turn) % 1.0, s, v), atol=1e-5)


def test_brightness_factors_cover_their_range():
    x = torch.full((4000, 1, 1, 1), 0.5)
    factor = brightness(x, 0.3, generator(0)).flatten() / 0.5
    assert 0.7 <= float(factor.min()) < 0.701
    assert 1.299 < float(factor.max()) <= 1.3
    assert float(factor.mean()) == pytest.approx(1, abs=0.01)


def test_hue_turns_cover_their_range():
    x = torch.tensor([0.5, 0.5, 0.5]).reshape(1, 3, 1, 1).repeat(2000, 1, 1, 1)
    x[:, 0] = 1.0  # hue 0
    shifted = hue(x, 0.1, generator(0))
    hues = [(colorsys.rgb_to_hsv(*p.tolist())[0] + 0.5) % 1 - 0.5 for p in shifted.flatten(1)]
    assert -0.1001 < min(hues) < -0.099
    assert 0.099 < max(hues) < 0.1001


@pytest.mark.parametrize("change", [brightness, contrast, saturation])
def test_results_stay_in_range_and_pictures_differ(noise_image, change):
    x = image_batch(noise_image).repeat(20, 1, 1, 1)
    y = change(x, 3.0, generator(0))
    assert float(y.min()) >= 0
    assert float(y.max()) <= 1
    assert not torch.allclose(y[0], y[1])
    assert torch.equal(x[0], x[1])


@pytest.mark.parametrize("change", [saturation, hue])
def test_hue_and_saturation_of_grey_images_are_refused(change):
    with pytest.raises(PellucidError, match=r"3 channels, got shape \(2, 1, 4, 4\)"):
        change(torch.zeros(2, 1, 4, 4), 0.1, generator(0))
    with pytest.raises(PellucidError, match="3 channels"):
        contrast(torch.zeros(2, 4, 4, 4), 0.1, generator(0))


def test_cutout_fills_one_square_of_each_picture_with_its_mean_colour() -> None:
    x = torch.rand(200, 3, 20, 24, generator=generator(1))
    y = cutout(x, 6, generator(0))
    assert y.shape == x.shape
    sizes = set()
    for before, after in zip(x.numpy(), y.numpy(), strict=True):
        changed = (before != after).any(0)
        rows, columns = np.nonzero(changed.any(1))[0], np.nonzero(changed.any(0))[0]
        inside = after[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert changed.sum() == inside[0].size  # one rectangle
        np.testing.assert_allclose(inside, np.broadcast_to(before.mean((1, 2))[:, None, None], inside.shape), rtol=1e-5)
        sizes.add(inside.shape[1:])
    assert max(sizes) == (6, 6)
    assert all(3 <= h <= 6 and 3 <= w <= 6 for h, w in sizes)  # at least half of each side lies inside the image


def test_cutout_covers_inner_pixels_equally_often() -> None:
    x = torch.ones(20_000, 1, 12, 12)
    x[:, :, 0, 0] = 0.0  # no image has the mean 1
    coverage = (cutout(x, 4, generator(0)) != x).float().mean((0, 1))[4:-4, 4:-4]
    expected = 16 / 144
    assert float((coverage - expected).abs().max()) < 4 * (expected / 20_000) ** 0.5


def test_the_input_is_unchanged_and_the_result_depends_on_the_seed() -> None:
    x = torch.rand(5, 3, 8, 8, generator=generator(2))
    original = x.clone()
    first = Augment(cutout=3)(x, generator(7))
    assert torch.equal(x, original)
    assert torch.equal(first, Augment(cutout=3)(x, generator(7)))
    assert not torch.equal(first, Augment(cutout=3)(x, generator(8)))


def test_a_cutout_without_a_side_is_refused() -> None:
    with pytest.raises(PellucidError, match="side is 0"):
        cutout(torch.rand(1, 1, 4, 4), 0, generator(0))
