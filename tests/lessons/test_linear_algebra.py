"""Linear algebra: closed forms of a symmetric 2 x 2 matrix, polyfit, and the identities of each decomposition."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.linalg import eigvals, svdvals
from sklearn.datasets import load_digits

from pellucid.lessons import LessonSettings, lesson
from pellucid.lessons.linear_algebra import GUIDE, decomposition, eigenvectors, norms, pseudoinverse


@cache
def results() -> dict[str, Any]:
    return lesson("linear-algebra").results


def has_small_differences(step: str, *names: str, limit: float = 1e-10) -> bool:
    return all(abs(results()[step].numbers[name]) < limit for name in names)


def test_norms_equal_numpys():
    numbers = results()["norms"].numbers
    assert [numbers[f"‖(3, 4)‖ by {name}"] for name in ("L1", "L2", "L∞")] == [7, 5, 4]
    assert numbers["inequalities hold for 1,000 vectors"]
    assert numbers["triangle inequality"]


def test_eigenvectors_of_a_symmetric_matrix():
    root = math.sqrt((2 - 1.5) ** 2 / 4 + 1)  # for [[2, 1], [1, 1.5]]
    assert results()["eigenvectors"].numbers["eigenvalues"] == pytest.approx([1.75 - root, 1.75 + root])
    assert has_small_differences(
        "eigenvectors", "A v - λ v", "Q Λ Qᵀ - A", "sum of λ - trace", "product of λ - determinant"
    )


def test_singular_values_equal_numpys():
    numbers = results()["decomposition"].numbers
    assert numbers["singular values"] == pytest.approx(svdvals([[1.5, 1.0], [-0.5, 1.2]]).tolist())
    assert numbers["longest image of a unit vector"] == pytest.approx(numbers["singular values"][0], rel=1e-3)
    assert has_small_differences("decomposition", "U Σ Vᵀ - A", "‖A‖² - Σ σ²", "eigenvalues of AᵀA - σ²")


def test_the_pseudoinverse_is_least_squares():
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0, 2, 40))
    slope, offset = np.polyfit(x, 5 + 7 * x + rng.normal(size=40), 1)
    numbers = results()["pseudoinverse"].numbers
    assert numbers["w"] == pytest.approx([offset, slope])
    assert numbers["w of two equal columns"] == pytest.approx([offset, slope / 2, slope / 2])  # of least norm
    assert has_small_differences("pseudoinverse", "X X⁺ X - X", "Xᵀ (y - X w)", "X⁺ - inverse(XᵀX) Xᵀ")


def test_principal_components_of_digits():
    from sklearn.decomposition import PCA

    numbers = results()["digits"].numbers
    expected = PCA(7).fit(load_digits().data).explained_variance_ratio_.sum()
    assert numbers["share of the variance of the first 7"] == pytest.approx(expected)
    assert has_small_differences(
        "digits", "σ²/(n - 1) - eigenvalues of the covariance", "V Vᵀ - I", "covariance - V Σ² Vᵀ/(n - 1)"
    )


def test_other_values_of_the_sliders():
    assert norms(LessonSettings(), p=3.0).numbers["‖(3, 4)‖ by L3"] == pytest.approx(91 ** (1 / 3))  # 27 + 64
    for mixing in GUIDE.sliders["eigenvectors"][0].values:
        numbers = eigenvectors(LessonSettings(), float(mixing)).numbers
        assert numbers["eigenvalues"] == pytest.approx(sorted(eigvals([[2, mixing], [mixing, 1.5]]).real))
        assert abs(numbers["A v - λ v"]) < 1e-12
    singular_values = decomposition(LessonSettings(), shear=-3.6).numbers["singular values"]
    assert singular_values == pytest.approx([math.sqrt(1.5**2 + 3.6**2 + 0.5**2 + 1.2**2), 0])  # of rank 1
    assert pseudoinverse(LessonSettings(), noise=0.0).numbers["w"] == pytest.approx([5, 7])


def test_the_answers_of_the_exercises():
    slope = np.polyfit([0, 1, 3], [1, 2, 6], 1)[0]
    expected = [max(np.roots([1, -7, 10])), svdvals([[3.0, 0], [4, 0]])[0], slope]
    assert [exercise.answer for exercise in GUIDE.exercises] == pytest.approx(expected)
