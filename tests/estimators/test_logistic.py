"""Logistic and softmax regression reach the minima that scikit-learn finds."""

import math

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import linear_model
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from pellucid.estimators import LogisticRegression, SoftmaxRegression

IRIS_X, IRIS_Y = load_iris(return_X_y=True)
IRIS_NAMES = np.array(["setosa", "versicolor", "virginica"])[IRIS_Y]
CANCER_X, CANCER_Y = load_breast_cancer(return_X_y=True)
CANCER_X = StandardScaler().fit_transform(CANCER_X)


def scikit_learn_model(**options) -> linear_model.LogisticRegression:
    return linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000, **options)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("estimator_class", "x", "y"),
    [(LogisticRegression, CANCER_X, CANCER_Y), (SoftmaxRegression, IRIS_X, IRIS_NAMES)],
    ids=["two", "three"],
)
def test_coefficients_are_those_of_scikit_learn(estimator_class, x, y, weighted: bool, intercept: bool) -> None:
    weights = np.random.default_rng(0).random(len(y)) if weighted else None
    fitted = estimator_class(0.5, fit_intercept=intercept).fit(x, y, weights)
    expected = scikit_learn_model(C=0.5, fit_intercept=intercept).fit(x, y, weights)
    np.testing.assert_allclose(fitted.coef_, expected.coef_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(fitted.intercept_, expected.intercept_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(fitted.predict_proba(x), expected.predict_proba(x), atol=1e-6)
    np.testing.assert_array_equal(fitted.predict(x), expected.predict(x))


def test_logistic_regression_of_several_classes_is_one_versus_rest() -> None:
    expected = OneVsRestClassifier(scikit_learn_model()).fit(IRIS_X, IRIS_NAMES)
    fitted = LogisticRegression().fit(IRIS_X, IRIS_NAMES)
    np.testing.assert_allclose(fitted.predict_proba(IRIS_X), expected.predict_proba(IRIS_X), atol=1e-6)
    np.testing.assert_allclose(fitted.decision_function(IRIS_X), expected.decision_function(IRIS_X), atol=1e-5)


def test_two_classes_of_a_softmax_regression_have_an_output_each() -> None:
    """With w1 = -w2 = w/2, ‖w1‖² + ‖w2‖² is half of ‖w‖²: this is logistic regression with twice the C."""
    actual, expected = SoftmaxRegression(0.5).fit(CANCER_X, CANCER_Y), scikit_learn_model(C=1.0).fit(CANCER_X, CANCER_Y)
    assert actual.coef_.shape == (2, 30)
    np.testing.assert_allclose(actual.coef_[1] - actual.coef_[0], expected.coef_[0], atol=1e-6)
    np.testing.assert_allclose(actual.decision_function(CANCER_X), expected.decision_function(CANCER_X), atol=1e-5)


def test_without_a_penalty_the_gradient_of_the_likelihood_vanishes() -> None:
    x, y = IRIS_X[50:, :2], IRIS_Y[50:] - 1  # these two classes overlap, so a minimum exists
    fitted = LogisticRegression(math.inf).fit(x, y)
    errors = expit(x @ fitted.coef_[0] + fitted.intercept_[0]) - y
    np.testing.assert_allclose(np.c_[x, np.ones(100)].T @ errors / 100, 0, atol=1e-6)


def test_probabilities_are_those_of_the_coefficients_and_the_network() -> None:
    fitted = SoftmaxRegression(max_iter=100, tol=1.0).fit(IRIS_X, IRIS_NAMES)
    expected = softmax(IRIS_X @ fitted.coef_.T + fitted.intercept_, axis=1)
    np.testing.assert_allclose(fitted.predict_proba(IRIS_X), expected)
    np.testing.assert_allclose(fitted.model_.predict(IRIS_X), expected)
    assert fitted.model_.classes == ("setosa", "versicolor", "virginica")


def test_too_few_steps_give_a_convergence_warning() -> None:
    with pytest.warns(ConvergenceWarning, match="did not converge in 50 steps"):
        LogisticRegression(max_iter=50).fit(CANCER_X, CANCER_Y)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_training_stops_at_the_maximum_number_of_steps(weighted: bool) -> None:
    """Nesterov's method in NumPy: the gradient at w + m v, rate 1/L, momentum m (Nesterov 2004, scheme 2.2.11)."""
    weights = np.random.default_rng(0).random(len(CANCER_X)) + 0.5 if weighted else np.ones(len(CANCER_X))
    x, penalty = CANCER_X[:, :3], 1 / weights.sum()
    max_curvature = np.linalg.norm(x * np.sqrt(weights / weights.mean())[:, None], 2) ** 2 / len(x) / 4 + penalty
    q = math.sqrt(penalty / max_curvature)
    w, v = np.zeros(3), np.zeros(3)
    for step in range(1, 4):
        w_ahead = w + (1 - q) / (1 + q) * v
        gradient = x.T @ (weights / weights.sum() * (expit(x @ w_ahead) - CANCER_Y)) + penalty * w_ahead
        w, v = w_ahead - gradient / max_curvature, w_ahead - gradient / max_curvature - w
        fitted = LogisticRegression(max_iter=step, fit_intercept=False).fit(x, CANCER_Y, weights if weighted else None)
        assert fitted.n_iter_ == fitted.history_.last["step"] == step
        np.testing.assert_allclose(fitted.coef_[0], w + (1 - q) / (1 + q) * v, rtol=1e-10)
    fitted = LogisticRegression(max_iter=103, tol=0.0).fit(CANCER_X, CANCER_Y)
    assert (fitted.n_iter_, fitted.history_["epoch"], fitted.history_["step"]) == (103, [1, 2, 3], [50, 100, 103])


@pytest.mark.parametrize("count", [0, -5, 2.5])
def test_an_invalid_number_of_steps_is_a_value_error(count) -> None:
    with pytest.raises(ValueError, match="max_iter must be a whole number of at least 1"):
        LogisticRegression(max_iter=count).fit(IRIS_X, IRIS_Y)


@pytest.mark.parametrize("y", [np.zeros(150), np.full(150, "one")])
def test_a_single_class_is_a_value_error(y) -> None:
    for estimator in (LogisticRegression(), SoftmaxRegression()):
        with pytest.raises(ValueError, match="only one class"):
            estimator.fit(IRIS_X, y)


def test_a_penalty_strength_of_zero_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="C must be above 0"):
        LogisticRegression(0.0).fit(IRIS_X, IRIS_Y)


@pytest.mark.parametrize("estimator", [LogisticRegression(), SoftmaxRegression()], ids=repr)
def test_the_fitted_network_can_be_verified_and_explained(estimator) -> None:
    model = estimator.fit(IRIS_X, IRIS_NAMES).model_
    assert model.verify(IRIS_X[:4], IRIS_NAMES[:4]).ok
    maps = model.explain(IRIS_X[:3], "input_x_gradient", target=1).numpy()
    np.testing.assert_allclose(maps, IRIS_X[:3] * estimator.coef_[1])
    scores = estimator.decision_function(IRIS_X[:1])
    np.testing.assert_allclose(model.trace(IRIS_X[:1], IRIS_NAMES[:1])["dense1.y"], scores)
    assert "dtype" not in str(model.doctor(IRIS_X, IRIS_NAMES))


def test_boundaries_and_coefficients_are_drawn() -> None:
    fitted = SoftmaxRegression().fit(IRIS_X[:, 2:], IRIS_NAMES)
    plot = fitted.plot(IRIS_X[:, 2:], IRIS_NAMES).axes[0]
    assert (plot.get_xlabel(), plot.get_ylabel()) == ("x0", "x1")
    widths = [bar.get_width() for bar in fitted.plot_coefficients().axes[0].patches]
    assert widths == pytest.approx(sorted(np.linalg.norm(fitted.coef_, axis=0), reverse=True))
