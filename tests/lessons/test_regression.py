"""The lesson about linear regression, compared with NumPy and scikit-learn."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.datasets import load_diabetes
from sklearn.model_selection import learning_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from pellucid.lessons import LessonSettings, Result, lesson
from pellucid.lessons.regression import GUIDE, early_stopping, penalties, polynomials
from pellucid.report.figures.style import Plot, png


@cache
def lesson_results() -> Mapping[str, Result]:
    return lesson("regression", small=True).results


def numbers(step: str) -> Mapping[str, Any]:
    return lesson_results()[step].numbers


def parabola(seed: int, count: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = 6 * rng.random((count, 1)) - 3
    return x, x[:, 0] ** 2 / 2 + x[:, 0] + 2 + noise * rng.normal(size=count)


def polynomial(degree: int):
    powers = PolynomialFeatures(degree, include_bias=False)
    return make_pipeline(powers, StandardScaler(), linear_model.LinearRegression())


@pytest.mark.slow
def test_closed_forms_and_batch_descent_agree_and_stochastic_descent_ends_near():
    rng = np.random.default_rng(0)
    x = 2 * rng.random(100)
    y = 5 + 7 * x + rng.normal(size=100)
    design = np.c_[np.ones(100), x]
    exact = np.linalg.lstsq(design, y)[0]
    result = {name: np.array(theta) for name, theta in numbers("line").items()}
    theta = np.zeros(2)
    for _ in range(1000):  # descent by hand
        theta -= 0.1 * 2 / 100 * design.T @ (design @ theta - y)
    for name in ("normal", "svd", "batch"):
        assert result[name] == pytest.approx(exact, abs=1e-8)
    assert result["batch"] == pytest.approx(theta, abs=1e-8)
    assert 1e-4 < np.linalg.norm(result["sgd"] - exact) < 0.2


@pytest.mark.slow
def test_polynomials_under_and_overfit_as_scikit_learns():
    values = numbers("polynomials")["root mean squared error"]
    x, y = parabola(0, 100)
    new_x, new_y = parabola(1000, 1000)
    for degree in (1, 2, 10):
        model = polynomial(degree).fit(x, y)
        errors = [np.sqrt(np.mean((model.predict(a) - b) ** 2)) for a, b in ((x, y), (new_x, new_y))]
        assert list(values[f"degree {degree}"].values()) == pytest.approx(errors, rel=1e-6)
    training_errors, new_errors = (
        [values[f"degree {degree}"][kind] for degree in (1, 2, 10, 90)] for kind in values["degree 1"]
    )
    assert training_errors == sorted(training_errors, reverse=True)
    assert min(new_errors) == new_errors[1] < 1.1
    assert min(new_errors[0], new_errors[3]) > 1.5


@pytest.mark.slow
def test_learning_curves_are_scikit_learns():
    values = numbers("learning_curves")
    for degree in (1, 2):
        _, training, validation = learning_curve(
            polynomial(degree), *parabola(0, 100), train_sizes=values["points"], cv=3,
            scoring="neg_root_mean_squared_error", shuffle=True, random_state=0,
        )[:3]  # fmt: skip
        curves = values[f"degree {degree}"]
        assert curves["training"] == pytest.approx(-training.mean(1), rel=1e-6)
        assert curves["validation"] == pytest.approx(-validation.mean(1), rel=1e-6)
    degree1, degree10 = values["degree 1"], values["degree 10"]
    assert degree1["validation"][-1] - degree1["training"][-1] < 0.3  # both curves meet ...
    assert degree1["training"][-1] > 1.5  # ... far above the noise of 1
    gaps = np.subtract(degree10["validation"], degree10["training"])
    assert gaps[0] > 4 * gaps[-1] > 0


def test_penalties_set_as_many_weights_to_0_as_scikit_learns():
    data: Any = load_diabetes()
    x = StandardScaler().fit_transform(data.data)
    models = {
        "ridge": linear_model.Ridge(10.0 * len(x)), "lasso": linear_model.Lasso(10.0),
        "elastic net": linear_model.ElasticNet(10.0, l1_ratio=0.5),
    }  # fmt: skip
    expected = {name: int((model.fit(x, data.target).coef_ == 0).sum()) for name, model in models.items()}
    assert numbers("penalties")["weights that are 0 at alpha = 10"] == expected
    assert expected["ridge"] == 0 < expected["lasso"]


def test_the_training_stops_at_the_minimum_of_the_validation_error():
    """The expected errors are computed by gradient descent in NumPy."""
    x, y = parabola(0, 100)
    powers = x ** np.arange(1, 16)
    scaled = (powers - powers[:15].mean(0)) / powers[:15].std(0)
    design, theta, errors = np.c_[np.ones(100), scaled], np.zeros(16), []
    for _ in range(700):
        theta -= 0.05 / 15 * design[:15].T @ (design[:15] @ theta - y[:15])
        errors.append(np.mean((design[15:] @ theta - y[15:]) ** 2) / 2)
    best_index = int(np.argmin(errors))
    assert 0 < best_index < 500
    assert numbers("early_stopping") == {
        "epoch of the minimum": best_index + 1,
        "epochs with early stopping": best_index + 201,
        "half the mean squared validation error at the minimum": pytest.approx(errors[best_index], rel=1e-8),
        "with early stopping": pytest.approx(errors[best_index], rel=1e-8),
        "at the end": pytest.approx(errors[-1], rel=1e-8),
    }


@pytest.mark.slow
def test_every_step_has_a_figure():
    assert all(isinstance(result.figure, Plot) and png(result.figure) for result in lesson_results().values())


def test_chosen_points_and_penalties_are_fitted_as_by_scikit_learn():
    values = polynomials(LessonSettings(), 40, 0.5).numbers["root mean squared error"]
    x, y = parabola(0, 40, 0.5)
    new_x, new_y = parabola(1000, 1000, 0.5)
    for degree in (1, 2):
        model = polynomial(degree).fit(x, y)
        errors = [np.sqrt(np.mean((model.predict(a) - b) ** 2)) for a, b in ((x, y), (new_x, new_y))]
        assert list(values[f"degree {degree}"].values()) == pytest.approx(errors, rel=1e-6)
    data: Any = load_diabetes()
    inputs = StandardScaler().fit_transform(data.data)
    zeros = penalties(LessonSettings(small=True), 1.0).numbers["weights that are 0 at alpha = 1"]
    assert zeros["lasso"] == (linear_model.Lasso(1.0).fit(inputs, data.target).coef_ == 0).sum() > 0
    assert penalties(LessonSettings(small=True), 300.0).numbers["weights that are 0 at alpha = 300"]["lasso"] == 10


def test_the_line_of_early_stopping_is_that_of_least_squares():
    x, y = parabola(0, 100, 0.0)
    slope, height = np.polyfit(x[:15, 0], y[:15], 1)
    error = np.mean((height + slope * x[15:, 0] - y[15:]) ** 2) / 2
    assert early_stopping(LessonSettings(small=True), 1, 0.0).numbers["at the end"] == pytest.approx(error, rel=1e-6)


def test_the_answers_of_the_exercises():
    slope, ridge = GUIDE.exercises
    assert slope.answer == pytest.approx(np.polyfit([0, 1, 2], [1, 2, 6], 1)[0])
    model = linear_model.Ridge(4.0, fit_intercept=False).fit([[2.0]], [4.0])  # minimizes twice this cost
    assert ridge.answer == pytest.approx(model.coef_[0])
