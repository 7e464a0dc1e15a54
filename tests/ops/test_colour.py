"""Conversions between RGB and Lab compared with published values and scikit-image."""

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab

from pellucid.ops.colour import delta_e_2000, into_gamut, lab_to_rgb, recolour, rgb_to_lab

# Values by Lindbloom's calculator, for sRGB and D65.
LINDBLOOM_COLOURS = {
    (1, 0, 0): (53.2408, 80.0925, 67.2032),
    (0, 0, 1): (32.2970, 79.1875, -107.8602),
    (1, 1, 1): (100, 0, 0),
}
# Sharma, Wu and Dalal 2005, table 1: pairs at discontinuities of hue, pairs with grey, and large differences.
SHARMA_PAIRS = (
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0000),
    ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0011), 7.2195),
    ((50.0, -0.001, 2.49), (50.0, 0.0009, -2.49), 4.8045),
    ((50.0, -0.001, 2.49), (50.0, 0.0011, -2.49), 4.7461),
    ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((50.0, 2.5, 0.0), (56.0, -27.0, -3.0), 31.9030),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((35.0831, -44.1164, 3.7933), (35.0232, -40.0716, 1.5901), 1.8645),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
)


def pixels(*colours):
    """Return colours as an image (1, 3, 1, n) in float64."""
    return torch.tensor(colours, dtype=torch.float64).T[None, :, None]


def rgb_grid(levels):
    """Return all colours of a grid of sRGB as an image (1, 3, 1, levels^3) in float64."""
    axis = torch.linspace(0, 1, levels, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis, axis).T[None, :, None]


def apply_skimage(function, image):
    return torch.from_numpy(function(image.movedim(1, -1).numpy())).movedim(-1, 1)


@pytest.mark.parametrize(("rgb", "lab"), LINDBLOOM_COLOURS.items())
def test_primaries_have_the_published_lab(rgb, lab):
    torch.testing.assert_close(rgb_to_lab(pixels(rgb)), pixels(lab), rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_lab_agrees_with_scikit_image(dtype):
    """Scikit-image rounds its matrix and its white point differently, which changes a and b by up to 0.01."""
    rgb = rgb_grid(12)
    lab = rgb_to_lab(rgb.to(dtype))
    torch.testing.assert_close(lab.double(), apply_skimage(rgb2lab, rgb), rtol=0, atol=0.01)
    expected_rgb = apply_skimage(lab2rgb, lab.double())
    torch.testing.assert_close(lab_to_rgb(lab).double().clamp(0, 1), expected_rgb, rtol=0, atol=2e-4)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-7), (torch.float32, 2e-5)])
def test_lab_to_rgb_is_the_inverse_of_rgb_to_lab(dtype, error):
    rgb = rgb_grid(16).to(dtype)
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(rgb)), rgb, rtol=0, atol=error)


def test_greys_of_8_bits_are_neutral_and_return_as_they_were():
    grey = torch.arange(256)[None, None, None].expand(1, 3, 1, 256)
    lab = rgb_to_lab(grey / 255)
    assert (lab[:, 1:] == 0).all()
    assert torch.equal((recolour(lab[:, :1], torch.zeros_like(lab[:, 1:])) * 255).round().long(), grey)


def test_colours_outside_the_gamut_keep_lightness_and_hue():
    rng = torch.Generator().manual_seed(0)
    lab = torch.rand(2, 3, 100, 100, generator=rng) * torch.tensor([100.0, 260, 260])[:, None, None]
    lab[:, 1:] -= 130
    result = into_gamut(lab)
    rgb = lab_to_rgb(result)
    assert rgb.min() > -2e-4
    assert rgb.max() < 1 + 2e-4
    in_8_bits = apply_skimage(rgb2lab, (rgb.clamp(0, 1) * 255).round().double() / 255)
    assert (in_8_bits[:, 0] - lab[:, 0]).abs().max() <= 0.5
    assert torch.equal(result[:, 0], lab[:, 0])
    cross_product = result[:, 1] * lab[:, 2] - result[:, 2] * lab[:, 1]
    assert cross_product.abs().max() < 0.05  # relative to products up to 130 x 130
    assert ((result[:, 1:] * lab[:, 1:]) >= 0).all()
    was_inside = ((lab_to_rgb(lab) >= 0) & (lab_to_rgb(lab) <= 1)).all(1, keepdim=True).expand_as(lab)
    assert 0 < was_inside.sum() < was_inside.numel()
    assert torch.equal(result[was_inside], lab[was_inside])


def test_the_chroma_is_the_largest_of_the_gamut():
    """Colours on faces of the RGB cube, with chroma then increased, are mapped back to the face.

    Only colours are tested for which the line from grey crosses the surface of the cube once.
    """
    rgb = rgb_grid(9)[..., 1:]
    face = rgb_to_lab(rgb[..., ((rgb == 0) | (rgb == 1)).any(1)[0, 0]])
    factors = torch.tensor((0.25, 0.5, 0.75, 0.9, 1.05, 1.2, 1.35, 1.5), dtype=torch.float64)
    scaled_rgb = torch.stack(
        [lab_to_rgb(scale_chroma(face, factor)) for factor in factors]
    )  # (factors, 1, 3, 1, colours)
    crossed_once = (((scaled_rgb < 0) | (scaled_rgb > 1)).any(2)[:, 0, 0] == (factors > 1)[:, None]).all(0)
    assert crossed_once.sum() > 300
    result = into_gamut(scale_chroma(face, 1.5))
    torch.testing.assert_close(result[..., crossed_once], face[..., crossed_once], rtol=0, atol=0.25)


def scale_chroma(lab, factor):
    return torch.cat((lab[:, :1], lab[:, 1:] * factor), 1)


def test_lightness_outside_of_0_to_100_is_limited():
    rgb = into_gamut(pixels((-3.0, 5.0, 5.0), (104.0, -5.0, 5.0)))
    torch.testing.assert_close(rgb, pixels((0.0, 0, 0), (100.0, 0, 0)), rtol=0, atol=0.02)


@pytest.mark.parametrize(("first", "second", "expected"), SHARMA_PAIRS)
def test_delta_e_2000_has_the_published_values(first, second, expected):
    first_image, second_image = pixels(first), pixels(second)
    for difference in (delta_e_2000(first_image, second_image), delta_e_2000(second_image, first_image)):
        assert difference.shape == (1, 1, 1)
        assert difference.item() == pytest.approx(expected, abs=1e-4)


def test_delta_e_2000_agrees_with_scikit_image():
    rng = torch.Generator().manual_seed(1)
    first, second = (rgb_to_lab(torch.rand(2, 3, 40, 40, generator=rng, dtype=torch.float64)) for _ in range(2))
    second[:, 1:, :5] = 0
    expected = deltaE_ciede2000(first.movedim(1, -1).numpy(), second.movedim(1, -1).numpy())
    torch.testing.assert_close(delta_e_2000(first, second), torch.from_numpy(np.asarray(expected)), rtol=0, atol=1e-9)
    assert delta_e_2000(first, first).max() == 0
