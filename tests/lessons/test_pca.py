"""Principal components: the eigenvectors of the covariance, and the variance by NumPy's SVD."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pellucid.lessons import Setting, lesson
from pellucid.lessons.pca import GUIDE, directions, reconstruction


@cache
def results() -> dict[str, Any]:
    return lesson("pca").results


@pytest.mark.slow
def test_components_are_eigenvectors_of_the_covariance():
    numbers = results()["directions"].numbers
    for name in (
        "variances - eigenvalues of the covariance",
        "components beside its eigenvectors",
        "correlation after rotation",
    ):
        assert abs(numbers[name]) < 1e-10
    assert numbers["variances"] == pytest.approx([2 + 13**0.5 / 2, 2 - 13**0.5 / 2], rel=0.2)  # [[3, 1.5], [1.5, 1]]


@pytest.mark.slow
def test_the_retained_variance_is_the_sum_of_eigenvalues():
    x = load_digits().data
    sigma = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
    numbers = results()["plane"].numbers
    assert numbers["variance kept"] == pytest.approx(sigma[:2].sum() / sigma.sum())
    assert numbers["variance kept, by hand"] == pytest.approx(numbers["variance kept"])
    reconstruction = results()["reconstruction"].numbers
    shares = np.cumsum(sigma) / sigma.sum()
    n_components = reconstruction["components for 95 % of the variance"]
    assert shares[n_components - 2] < 0.95 <= shares[n_components - 1]
    assert reconstruction["error - variances left out"] < 1e-10
    expected_errors = {k: sigma[k:].sum() / 16**2 / len(x) for k in (2, 8, 16, 32)}
    assert reconstruction["mean squared error by components"] == pytest.approx(expected_errors)


def test_twenty_components_are_nearly_as_good_as_all_pixels():
    scores = results()["features"].numbers
    assert scores["64 components: test accuracy"] > 0.95
    assert scores["20 components: test accuracy"] > scores["64 components: test accuracy"] - 0.03
    assert scores["1 components: test accuracy"] < 0.5


def test_exercises_and_sliders_of_components():
    share, variance = GUIDE.exercises
    assert share.answer == pytest.approx(100 * 6 / (6 + 3 + 1))
    assert variance.answer == pytest.approx(max(np.roots([1, -4, 3])))  # det([[3 - v, 0], [0, 1 - v]])
    for covariance in (-1.5, 0.0, 1.7):
        points = np.random.default_rng(0).multivariate_normal([0, 0], [[3, covariance], [covariance, 1]], 300)
        sigma = np.linalg.svd(points - points.mean(0), compute_uv=False)
        assert directions(Setting(), covariance=covariance).numbers["variances"] == pytest.approx(sigma**2 / 299)


@pytest.mark.slow
def test_a_chosen_number_of_components_is_shown():
    x = load_digits().data / 16
    sigma = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
    errors = reconstruction(Setting(), components=24).numbers["mean squared error by components"]
    assert errors[24] == pytest.approx(sigma[24:].sum() / len(x))
    assert reconstruction(Setting(), components=64).numbers["mean squared error by components"][64] < 1e-20
