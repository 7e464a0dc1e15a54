"""Support vector machines: the optimum by SciPy's solver, and the identities of its solution."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.datasets import make_blobs

from pellucid.lessons import Setting, lesson
from pellucid.lessons.svm import GUIDE, kernels, soft


@cache
def results() -> dict[str, Any]:
    return lesson("svm").results


@pytest.mark.slow
def test_the_margin_is_the_widest():
    x, y = make_blobs(60, centers=[[-2, -1], [2, 1]], cluster_std=0.8, random_state=0)
    t = 2 * y - 1
    inside = {"type": "ineq", "fun": lambda v: t * (x @ v[:2] + v[2]) - 1}
    result = minimize(lambda v: v[:2] @ v[:2] / 2, [1.0, 1.0, 0.0], constraints=inside, method="SLSQP", tol=1e-12)
    numbers = results()["margin"].numbers
    assert numbers["width of the margin"] == pytest.approx(2 / np.linalg.norm(result.x[:2]), rel=1e-4)
    assert numbers["twice the smallest distance"] == pytest.approx(numbers["width of the margin"], rel=1e-4)
    assert numbers["t f(x) of the support vectors"] == pytest.approx([1] * numbers["support vectors"], abs=1e-3)
    for name in ("w - Σ alpha t x", "Σ alpha t", "w - w of the support vectors alone"):
        assert abs(numbers[name]) < 1e-4


@pytest.mark.slow
def test_a_smaller_c_widens_the_margin():
    rows = [results()["soft"].numbers[f"C = {c}"] for c in ("0.01", "1", "100")]
    assert [row["width"] for row in rows] == sorted((row["width"] for row in rows), reverse=True)
    assert rows[0]["support vectors"] > rows[-1]["support vectors"]


def test_an_rbf_kernel_separates_circles_unlike_a_linear_kernel():
    numbers = results()["kernels"].numbers
    assert numbers["circles, linear"]["training accuracy"] < 0.7
    assert numbers["circles, RBF"]["training accuracy"] > 0.98
    assert numbers["moons, gamma = 100"]["support vectors"] > 2 * numbers["moons, gamma = 1"]["support vectors"]
    assert numbers["f(x) by hand - decision function"] < 1e-10


def test_the_selected_gamma_classifies_digits():
    assert results()["digits"].numbers["gamma"] in (0.01, 0.1)
    assert results()["digits"].numbers["test accuracy"] > 0.97


def test_exercises_and_sliders_of_svm():
    width, loss = GUIDE.exercises
    assert width.answer == pytest.approx(2 / np.hypot(3, 4))
    assert loss.answer == pytest.approx(max(0, 1 - 0.3))
    x, y = make_blobs(120, centers=[[-1, -0.5], [1, 0.5]], cluster_std=1.0, random_state=0)
    t = 2 * y - 1

    def cost(v):
        return v[:2] @ v[:2] / 2 + 0.1 * np.maximum(0, 1 - t * (x @ v[:2] + v[2])).sum()

    found = min((minimize(cost, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-8})
                 for start in ([1.0, 0.5, 0.0], [0.5, 0.5, 0.1])), key=lambda result: result.fun)  # fmt: skip
    numbers = soft(Setting(), weight=0.1).numbers["C = 0.1"]
    assert numbers["width"] == pytest.approx(2 / np.linalg.norm(found.x[:2]), rel=0.01)
    smooth, ragged = (kernels(Setting(), gamma=gamma).numbers[f"moons, gamma = {gamma:g}"] for gamma in (0.1, 30.0))
    assert ragged["support vectors"] > smooth["support vectors"]
    assert ragged["training accuracy"] > smooth["training accuracy"]
