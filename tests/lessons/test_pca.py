"""Principal components: the eigenvectors of the covariance, and the variance by NumPy's SVD."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pellucid.lessons import LessonSettings, lesson
from pellucid.lessons.pca import GUIDE, directions, plane, reconstruction


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


def test_other_values_of_the_sliders():
    x = load_digits().data
    sigma = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
    numbers = plane(LessonSettings(), vertical=20).numbers
    assert numbers["variance kept"] == pytest.approx((sigma[0] + sigma[19]) / sigma.sum())
    assert numbers["variance kept, by hand"] == pytest.approx(numbers["variance kept"])
    for k in (1, 16, 64):
        errors = reconstruction(LessonSettings(), components=k).numbers["mean squared error by components"]
        assert list(errors) == sorted({2, k, 16, 32})
        assert errors[k] == pytest.approx(sigma[k:].sum() / 16**2 / len(x), abs=1e-12)
    points = np.random.default_rng(0).multivariate_normal([0, 0], [[3, -0.75], [-0.75, 1]], 300)
    variances = np.linalg.svd(points - points.mean(0), compute_uv=False) ** 2 / 299
    assert directions(LessonSettings(), covariance=-0.75).numbers["variances"] == pytest.approx(variances)


def test_the_answers_of_the_exercises():
    largest_variance = np.linalg.eigvalsh([[2, 1], [1, 2]])[-1]
    shares = np.cumsum([6, 3, 0.6, 0.4]) / 10
    n_components = 1 + np.flatnonzero(shares >= 0.95)[0]
    assert [exercise.answer for exercise in GUIDE.exercises] == pytest.approx([largest_variance, n_components])
    right_guess = GUIDE.guesses["reconstruction"].answers[GUIDE.guesses["reconstruction"].right]
    assert int(right_guess) == results()["reconstruction"].numbers["components for 95 % of the variance"]
