"""Colour maps: uniform perceptual steps, 0 in the middle of the diverging map, and safe for colour-blind readers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import Colormap

from pellucid.report.figures.heat import DIVERGING, SEQUENTIAL, colour_scale

PAINT = Path(__file__).parents[2] / "pellucid/studio/web/core/paint.js"


def srgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """Return the CIELAB values of sRGB by the formulae of the CIE, independently of the conversion in pellucid."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                       [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def rgb_table(map_: Colormap) -> np.ndarray:
    return map_(np.arange(map_.N))[:, :3]


def test_equal_steps_have_equal_colour_differences() -> None:
    steps = np.linalg.norm(np.diff(srgb_to_lab(rgb_table(DIVERGING)), axis=0), axis=1)
    assert DIVERGING.N % 2 == 1, "0 has a colour of its own"
    assert steps.max() < 1.15 * steps.min()


def test_values_of_equal_magnitude_are_equally_dark() -> None:
    lightness = srgb_to_lab(rgb_table(DIVERGING))[:, 0]
    assert np.allclose(lightness, lightness[::-1], atol=0.7)
    assert (np.diff(lightness[: DIVERGING.N // 2 + 1]) > 0).all()
    assert lightness[0] < 40
    assert lightness[DIVERGING.N // 2] > 95


@pytest.mark.parametrize(
    "cones",
    [
        # sRGB as perceived without long-wave or without middle-wave cones: Vienot, Brettel and Mollon 1999.
        [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    ],
)
def test_negative_and_positive_colours_differ_for_colour_blind_readers(cones: list[list[float]]) -> None:
    rgb = rgb_table(DIVERGING)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    rgb_perceived = np.clip(linear @ np.array(cones).T, 0, 1)
    rgb_perceived = np.where(
        rgb_perceived <= 0.0031308, 12.92 * rgb_perceived, 1.055 * rgb_perceived ** (1 / 2.4) - 0.055
    )
    differences = np.linalg.norm(srgb_to_lab(rgb_perceived) - srgb_to_lab(rgb_perceived[::-1]), axis=1)
    assert differences[0] > 40
    assert (np.diff(differences[: DIVERGING.N // 2 + 1]) < 0.5).all(), "the nearer to 0 the more alike"


def test_larger_magnitudes_have_darker_colours() -> None:
    assert (np.diff(srgb_to_lab(rgb_table(SEQUENTIAL))[:, 0]) < 0).all()


def oklch_to_srgb(lightness: float, chroma: float, hue: float) -> np.ndarray:
    """Return sRGB from 0 to 1 by the formulae of Ottosson 2020, which browsers use."""
    a, b = chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))
    to_cones = [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
    to_linear = [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
    linear = (np.array(to_linear) @ (np.array(to_cones) @ [lightness, a, b]) ** 3).clip(0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(("name", "map_"), [("div", DIVERGING), ("seq", SEQUENTIAL)])
def test_figures_have_the_colours_of_the_studio(name: str, map_: Colormap) -> None:
    entry = re.search(rf"{name}: {{\s*light: (\[\[.*?\]\])", PAINT.read_text(encoding="utf-8"))
    assert entry
    stops = [oklch_to_srgb(*stop) for stop in json.loads(entry[1])]
    table = rgb_table(map_)
    assert np.allclose(table[0], stops[0], atol=0.5 / 255 + 1e-3)
    assert np.allclose(table[-1], stops[-1], atol=0.5 / 255 + 1e-3)


def test_signed_values_have_0_in_the_middle_and_magnitudes_at_the_dark_end() -> None:
    norm, map_ = colour_scale([[-1.0, 3.0]], signed=True)
    assert (norm.vmin, norm.vmax) == (-3, 3)
    assert map_ is DIVERGING
    norm, map_ = colour_scale([[1.0, 3.0]], signed=False)
    assert (norm.vmin, norm.vmax) == (0, 3)
    assert map_ is SEQUENTIAL
    norm, _ = colour_scale([[0.0, 0.0]], signed=False)
    assert norm.vmax > norm.vmin
