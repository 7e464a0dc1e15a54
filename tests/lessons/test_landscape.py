"""The landscape of a cost: the Hessian by autograd, symmetries and the noise precision by NumPy and SciPy."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from pellucid.lessons import Setting
from pellucid.lessons.landscape import GUIDE, curvature, hessian, noise, quadratic, symmetries, trained_surface

SMALL = Setting(small=True)


def cost(point: torch.Tensor) -> torch.Tensor:
    """Return half the mean squared error of the 1-3-1 network."""
    surface = trained_surface(0, True)
    w, b, v, c = point.split([3, 3, 3, 1])
    return ((torch.tanh(surface.x * w + b) @ v + c - surface.y[:, 0]) ** 2).mean() / 2


def test_the_hessian_is_that_of_autograd():
    surface = trained_surface(0, True)
    expected = torch.autograd.functional.hessian(cost, surface.point)
    assert torch.allclose(hessian(surface, surface.point), expected, rtol=1e-6, atol=1e-6)
    numbers = curvature(SMALL).numbers
    assert (numbers["weights"], numbers["different entries"]) == (10, 55)
    assert numbers["cost"] == pytest.approx(float(cost(surface.point)))
    assert np.allclose(numbers["eigenvalues"], np.linalg.eigvalsh(expected), atol=1e-6)
    assert numbers["largest stable learning rate"] == pytest.approx(2 / np.linalg.eigvalsh(expected)[-1], rel=1e-5)
    gradient = torch.autograd.functional.jacobian(cost, surface.point)
    assert numbers["norm of the gradient"] == pytest.approx(float(gradient.norm()), rel=1e-6)


def test_the_error_of_the_approximation_is_cubic():
    numbers = quadratic(SMALL).numbers
    assert numbers["numbers in the approximation"] == 10 * 13 / 2
    assert all(7 < ratio < 9.5 for ratio in numbers["ratios"])  # 8 for small distances


def test_permuted_networks_are_distinct_and_have_equal_outputs():
    numbers = symmetries(SMALL).numbers
    assert numbers["arrangements"] == 6 * 8
    assert numbers["smallest distance"] > 0.1
    assert numbers["largest gap of outputs"] < 1e-12


def test_the_precision_maximizes_the_likelihood():
    surface = trained_surface(0, True)
    w, b, v, c = np.split(surface.point.numpy(), [3, 6, 9])
    outputs = np.tanh(surface.x.numpy() * w + b) @ v + c
    residuals = surface.y.numpy()[:, 0] - outputs
    optimum = minimize_scalar(lambda log: -norm.logpdf(residuals, scale=np.exp(-log / 2)).sum())
    numbers = noise(SMALL).numbers
    assert numbers["precision"] == pytest.approx(np.exp(optimum.x), rel=1e-5)
    assert numbers["standard deviation"] == pytest.approx(0.2, rel=0.2)


def test_exercises_and_sliders_of_landscape() -> None:
    entries, arrangements = GUIDE.exercises
    assert entries.answer == len(np.tril_indices(20)[0])
    assert arrangements.answer == math.factorial(4) * 2**4
    surface = trained_surface(0, True)
    residuals = (surface.y - surface.outputs(surface.point)).numpy()
    for deviations in (1, 2, 3):
        share = noise(Setting(small=True), deviations=deviations).numbers["share of the points in the band"]
        assert share == pytest.approx((np.abs(residuals) <= deviations * np.sqrt((residuals**2).mean())).mean())
    assert quadratic(Setting(small=True), reach=0.1).numbers == quadratic(Setting(small=True)).numbers
