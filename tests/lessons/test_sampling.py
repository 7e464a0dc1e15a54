"""Inverse transform sampling: distances and inverses by SciPy, the image's density by NumPy."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import expon, kstest, norm
from sklearn.datasets import load_digits

from pellucid.data import load
from pellucid.lessons import LessonSettings
from pellucid.lessons.sampling import (
    GAUSSIANS,
    GUIDE,
    RATE,
    brightness,
    bumps_cdf,
    exponential,
    inverse_bumps_cdf,
    kolmogorov_distance,
    learned,
    table,
)


def mixture_cdf(x: np.ndarray | float) -> np.ndarray | float:
    return sum(weight * norm(mean, deviation).cdf(x) for weight, mean, deviation in GAUSSIANS)


def test_samples_follow_the_exponential_distribution() -> None:
    numbers = exponential(LessonSettings()).numbers
    u = torch.rand(10_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    x = expon(scale=1 / RATE).ppf(u)
    assert numbers["mean"] == pytest.approx(x.mean())
    assert numbers["variance"] == pytest.approx(x.var(ddof=1))
    for count in (100, 1_000, 10_000):
        expected = kstest(x[:count], expon(scale=1 / RATE).cdf).statistic
        assert numbers["Kolmogorov's distance"][f"{count:,} draws"] == pytest.approx(expected, abs=1e-6)


def test_the_table_is_the_inverse_distribution_function() -> None:
    u = np.linspace(0.01, 0.99, 25)
    expected = [brentq(lambda x, probability=probability: mixture_cdf(x) - probability, -6, 6) for probability in u]
    actual = inverse_bumps_cdf(torch.from_numpy(u))
    np.testing.assert_allclose(actual, expected, atol=1e-4)
    np.testing.assert_allclose(bumps_cdf(actual), u, atol=1e-5)
    numbers = table(LessonSettings()).numbers
    assert numbers["mean of the bumps"] == pytest.approx(0.35 * -1.2 + 0.65 * 0.9)
    assert numbers["largest |F(F⁻¹(u)) - u|"] < 1e-5
    assert numbers["Kolmogorov's distance"] < 1.63 / 100  # exceeded by 1 % of samples of 10,000


def test_an_image_is_drawn_pixel_by_pixel() -> None:
    numbers = brightness(LessonSettings()).numbers
    digits = load("digits").train
    expected_images = {
        image.tobytes() for image in load_digits().images[load_digits().target == 3].astype(np.float32) / 16
    }
    threes = digits.x[digits.y == 3][:, 0].numpy()
    scaled = threes.astype(np.float32) / (255 if threes.dtype == np.uint8 else 1)
    assert {image.tobytes() for image in scaled} <= expected_images
    density = scaled.astype(np.float64).sum(0)
    density /= density.sum()
    np.testing.assert_allclose(numbers["rows' probabilities"], density.sum(1), rtol=1e-5)
    deviation = np.sqrt(density.sum(1) * (1 - density.sum(1)) / 20_000)
    assert (np.abs(np.array(numbers["rows' shares of the draws"]) - density.sum(1)) < 4 * deviation).all()
    assert numbers["largest difference of a pixel"] < 4 * np.sqrt(density.max() / 20_000)


@pytest.mark.slow
def test_the_network_approximates_the_distribution() -> None:
    numbers = learned(LessonSettings(small=True)).numbers
    assert numbers["Kolmogorov's distance before"] > 0.3
    assert numbers["Kolmogorov's distance after"] < 0.12
    assert numbers["discrepancy, last epoch"] < numbers["discrepancy, first epoch"] / 2


def test_kolmogorovs_distance_is_scipys() -> None:
    x = torch.randn(50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert kolmogorov_distance(x, bumps_cdf) == pytest.approx(kstest(x.numpy(), mixture_cdf).statistic, abs=1e-6)


def test_other_values_of_the_sliders() -> None:
    u = torch.rand(10_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    x = expon(scale=1 / 3).ppf(u)
    numbers = exponential(LessonSettings(), rate=3.0, draws=100).numbers
    assert (numbers["mean"], numbers["variance"]) == pytest.approx((x[:100].mean(), x[:100].var(ddof=1)))
    assert numbers["Kolmogorov's distance"]["1,000 draws"] == pytest.approx(
        kstest(x[:1000], expon(scale=1 / 3).cdf).statistic, abs=1e-6
    )
    table_x = np.linspace(-3.5, 3.5, 9)
    coarse_x = np.interp(u, mixture_cdf(table_x), table_x)
    coarse_numbers = table(LessonSettings(), points=9).numbers
    assert coarse_numbers["mean"] == pytest.approx(coarse_x.mean(), abs=1e-6)
    assert coarse_numbers["largest |F(F⁻¹(u)) - u|"] == pytest.approx(np.abs(mixture_cdf(coarse_x) - u).max(), abs=1e-6)
    for digit in range(10):
        shares = brightness(LessonSettings(), digit, draws=100).numbers["rows' shares of the draws"]
        assert sum(shares) == pytest.approx(1)


def test_the_answers_of_the_exercises() -> None:
    first_row = np.cumsum([1, 3]) / 4
    pixel = [1, 3][int(np.searchsorted(first_row, 0.3))]
    expected = [expon(scale=1 / 2).ppf(0.5), brentq(lambda x: x**2 - 0.36, 0, 1), pixel]
    assert [exercise.answer for exercise in GUIDE.exercises] == pytest.approx(expected)
