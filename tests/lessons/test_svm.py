"""Support vector machines: the optimum by SciPy's solver, and the identities of its solution."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.datasets import make_blobs, make_moons
from sklearn.metrics import hinge_loss
from sklearn.svm import SVC

from pellucid.lessons import LessonSettings, lesson
from pellucid.lessons.svm import GUIDE, POINTS, kernels, margin, soft


@cache
def results() -> dict[str, Any]:
    return lesson("svm").results


MOVED = ((-1.0, -3.0), *POINTS[1:11], (0.5, -2.0))


@pytest.mark.parametrize("points", [POINTS, MOVED])
def test_the_margin_is_the_widest(points: tuple[tuple[float, float], ...]):
    x, t = np.array(points), np.repeat([-1, 1], 6)
    inside = {"type": "ineq", "fun": lambda v: t * (x @ v[:2] + v[2]) - 1}
    result = minimize(lambda v: v[:2] @ v[:2] / 2, [1.0, 1.0, 0.0], constraints=inside, method="SLSQP", tol=1e-12)
    numbers = margin(LessonSettings(), points).numbers
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


def test_a_chosen_c_minimizes_the_cost_of_the_soft_margin():
    x, y = make_blobs(120, centers=[[-1, -0.5], [1, 0.5]], cluster_std=1.5, random_state=0)
    t = 2 * y - 1

    def cost(v: np.ndarray) -> float:
        return v[:2] @ v[:2] / 2 + 0.1 * np.maximum(0, 1 - t * (x @ v[:2] + v[2])).sum()

    starts = [np.zeros(3), np.array([1.0, 0.5, 0.0])]
    fits = [minimize(cost, start, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-9}) for start in starts]
    best_fit = min(fits, key=lambda fit: fit.fun)
    numbers = soft(LessonSettings(), c=0.1, spread=1.5).numbers
    assert list(numbers) == ["C = 0.01", "C = 0.1", "C = 100"]
    assert numbers["C = 0.1"]["width"] == pytest.approx(2 / np.linalg.norm(best_fit.x[:2]), rel=0.01)


def test_a_chosen_gamma_and_whether_a_large_one_is_better_for_new_points():
    x, y = make_moons(200, noise=0.2, random_state=0)
    new_x, new_y = make_moons(2000, noise=0.2, random_state=1)
    numbers = kernels(LessonSettings(), gamma=10.0, c=10.0).numbers["moons, gamma = 10"]
    machine = SVC(C=10.0, gamma=10.0).fit(x, y)
    assert numbers == {"training accuracy": machine.score(x, y), "support vectors": len(machine.support_)}
    smooth, islands = (SVC(gamma=gamma).fit(x, y).score(new_x, new_y) for gamma in (1.0, 100.0))
    assert smooth > islands  # as the right guess says


def test_the_answers_of_the_exercises():
    distance = np.linalg.norm(np.array([0.6, 0.8]) * 2 / 5)  # from f = -1 to f = 1 along w
    loss = hinge_loss([1, -1], [-1.0, 1.0])  # the same loss for both
    half = minimize(lambda d: (np.exp(-(d[0] ** 2)) - 0.5) ** 2, [0.7], tol=1e-12).x[0]
    assert [exercise.answer for exercise in GUIDE.exercises] == pytest.approx([distance, loss, half], abs=1e-4)
