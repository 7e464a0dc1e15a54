"""The landscape of a cost: the Hessian by autograd, symmetries and the noise precision by NumPy and SciPy."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from pellucid.lessons import LessonSettings
from pellucid.lessons.landscape import (
    GUIDE,
    curvature,
    descending,
    hessian,
    noise,
    quadratic,
    symmetries,
    trained_surface,
)

SMALL = LessonSettings(small=True)


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
    share = (np.abs(residuals) <= 2 * np.sqrt((residuals**2).mean())).mean()
    assert noise(SMALL, deviations=2).numbers["share of the points in the band"] == pytest.approx(share)
    numbers = noise(SMALL).numbers
    assert numbers["precision"] == pytest.approx(np.exp(optimum.x), rel=1e-5)
    assert numbers["standard deviation"] == pytest.approx(0.2, rel=0.2)


@pytest.mark.parametrize(("fraction", "direction"), [(0.25, "steepest"), (1.1, "steepest"), (0.9, "flattest")])
def test_the_descent_is_that_of_autograd(fraction: float, direction: str):
    surface = trained_surface(0, True)
    eigenvalues, eigenvectors = np.linalg.eigh(torch.autograd.functional.hessian(cost, surface.point).numpy())
    axis = eigenvectors[:, -1 if direction == "steepest" else 0]
    numbers = descending(SMALL, fraction, direction).numbers
    assert numbers["rate"] == pytest.approx(2 * fraction / eigenvalues[-1], rel=1e-5)
    ends = []  # the sign of an eigenvector is arbitrary
    for vector in (torch.from_numpy(axis), -torch.from_numpy(axis)):
        point = surface.point + 0.01 * vector
        for _ in range(20):
            point = point - numbers["rate"] * torch.autograd.functional.jacobian(cost, point)
        ends.append(float((point - surface.point) @ vector))
    assert any(numbers["distance after 20 steps"] == pytest.approx(end, rel=1e-4, abs=1e-8) for end in ends)


def test_every_rate_has_a_finite_end():
    for slider_value in GUIDE.sliders["descending"][0].values:
        assert np.isfinite(descending(SMALL, float(slider_value)).numbers["distance after 20 steps"])


def test_the_approximation_at_a_chosen_distance():
    surface = trained_surface(0, True)
    expected_hessian = torch.autograd.functional.hessian(cost, surface.point)
    axis = torch.linalg.eigh(expected_hessian).eigenvectors[:, -1]
    gradient = torch.autograd.functional.jacobian(cost, surface.point)
    numbers = quadratic(SMALL, reach=0.25).numbers
    ends = []  # the sign of an eigenvector is arbitrary
    for move in (0.25 * axis, -0.25 * axis):
        approximation = cost(surface.point) + move @ gradient + move @ expected_hessian @ move / 2
        ends.append((float(cost(surface.point + move)), float(approximation)))
    actual = (numbers["cost at the right end"], numbers["its approximation"])
    assert any(actual == pytest.approx(end, rel=1e-4) for end in ends)


def test_the_answers_of_the_exercises():
    entries = len(np.triu_indices(100)[0])
    rates = np.arange(1, 200) / 1000
    largest_rate = max(rate for rate in rates if abs(1 - rate * 40) <= 1 + 1e-9)
    minima = len({(order, signs) for order in permutations(range(4)) for signs in product((1, -1), repeat=4)})
    assert [exercise.answer for exercise in GUIDE.exercises] == pytest.approx([entries, largest_rate, minima])
    eigenvalues = curvature(SMALL).numbers["eigenvalues"]
    assert eigenvalues[-1] > 10_000 * eigenvalues[0] > 0  # as the right guess says
