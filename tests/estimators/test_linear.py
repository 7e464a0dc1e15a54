"""Linear regressors against scikit-learn and NumPy: closed-form solutions and gradient descent."""

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.datasets import load_diabetes, make_regression

from pellucid.estimators import ElasticNet, Lasso, LinearRegression, Ridge

X, Y = make_regression(60, 5, n_informative=3, noise=4.0, bias=7.0, random_state=0)
WEIGHTS = np.random.default_rng(0).random(60) + 0.1
LINE_X = 2 * np.random.default_rng(1).random((100, 1))
LINE_Y = 5 + 7 * LINE_X[:, 0] + np.random.default_rng(2).normal(size=100)

EQUAL_ESTIMATORS = [
    (LinearRegression(), linear_model.LinearRegression()),
    (LinearRegression("normal"), linear_model.LinearRegression()),
    (LinearRegression("normal", fit_intercept=False), linear_model.LinearRegression(fit_intercept=False)),
    (Ridge(3.0), linear_model.Ridge(3.0)),
    (Ridge(3.0, solver="svd"), linear_model.Ridge(3.0)),
    (Ridge(3.0, solver="svd", fit_intercept=False), linear_model.Ridge(3.0, fit_intercept=False)),
    (LinearRegression("batch", epochs=150), linear_model.LinearRegression()),
    (Ridge(3.0, solver="batch", epochs=150), linear_model.Ridge(3.0)),
]


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize(
    ("estimator", "expected"), EQUAL_ESTIMATORS, ids=[repr(estimator) for estimator, _ in EQUAL_ESTIMATORS]
)
def test_coefficients_are_those_of_scikit_learn(estimator, expected, weights) -> None:
    estimator.fit(X, Y, sample_weight=weights)
    expected.fit(X, Y, sample_weight=weights)
    np.testing.assert_allclose(estimator.coef_, expected.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(estimator.intercept_, expected.intercept_, rtol=1e-6)
    np.testing.assert_allclose(estimator.predict(X), expected.predict(X), rtol=1e-6)


def test_the_solution_of_minimum_norm_is_found() -> None:
    wide = np.random.default_rng(0).normal(size=(10, 30))
    expected = np.linalg.pinv(wide) @ Y[:10]
    for solver in ("svd", "normal"):
        fitted = LinearRegression(solver, fit_intercept=False).fit(wide, Y[:10])
        np.testing.assert_allclose(fitted.coef_, expected, rtol=1e-6)


@pytest.mark.parametrize("solver", ["normal", "svd"])
def test_ridge_keeps_features_of_every_scale(solver: str) -> None:
    """For orthogonal columns x of four values ±s, w = Σ x y / (4 s² + alpha): here 0 and 12/5."""
    x = np.array([[1e9, 1.0], [1e9, -1.0], [-1e9, 1.0], [-1e9, -1.0]])
    fitted = Ridge(1.0, solver=solver).fit(x, 3 * x[:, 1])
    np.testing.assert_allclose(fitted.coef_, [0.0, 2.4], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("condition", [1e4, 1e5, 1e6])
@pytest.mark.parametrize("kind", [LinearRegression, Ridge])
@pytest.mark.parametrize("shape", [(10, 30), (30, 10), (12, 12)])
def test_the_minimum_norm_solution_equals_numpys_for_large_condition_numbers(kind, condition: float, shape) -> None:
    rng = np.random.default_rng(0)
    u, _, vt = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    x = u @ np.diag(np.geomspace(1, 1 / condition, len(vt))) @ vt
    y = rng.normal(size=len(x))
    for solver in ("svd", "normal") if shape == (10, 30) else ("svd",):  # "normal" squares the condition number
        estimator = kind(solver=solver) if kind is LinearRegression else kind(0.0, solver=solver)
        exact = np.linalg.pinv(x) @ y
        result = estimator.set_params(fit_intercept=False).fit(x, y).coef_
        assert np.linalg.norm(result - exact) <= 1e-8 * np.linalg.norm(exact)
        centred = x - x.mean(0)
        exact = np.linalg.pinv(centred, rcond=1e-12) @ (y - y.mean())
        result = estimator.set_params(fit_intercept=True).fit(x, y).coef_
        assert np.linalg.norm(result - exact) <= 1e-8 * np.linalg.norm(exact)


@pytest.mark.parametrize("alpha", [1e-300, 1e-12, 1e-6, 1.0, 1e3])
def test_ridge_on_duplicated_examples_has_the_solution_of_weighted_examples(alpha: float) -> None:
    """Two examples with equal features cost as much as one of weight 2 with their mean target, plus a constant."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 20)), rng.normal(size=10)
    root = np.sqrt([2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    weighted, target = x * root[:, None], root * np.r_[(y[:2] + y[8:]) / 2, y[2:8]]
    exact = weighted.T @ np.linalg.solve(weighted @ weighted.T + alpha * np.eye(8), target)
    result = Ridge(alpha, solver="svd", fit_intercept=False).fit(np.r_[x, x[:2]], y).coef_
    np.testing.assert_allclose(result, exact, rtol=1e-7)


UNPENALIZED = [
    LinearRegression(),
    LinearRegression("normal"),
    Ridge(0),
    Ridge(0, solver="svd"),
    Ridge(1e-300),
    Ridge(1e-300, solver="svd"),
]


@pytest.mark.parametrize("estimator", UNPENALIZED, ids=repr)
@pytest.mark.parametrize("small", [1e-6, 1e-12, 1e-60, 1e60])
def test_least_squares_keeps_features_of_every_scale(estimator, small: float) -> None:
    """Coefficients of rescaled features, times the scale, are those of NumPy's lstsq on the features of scale 1."""
    scale = np.array([1.0, 1.0, small, 1.0, small])
    exact = np.linalg.lstsq(np.c_[X, np.ones(60)], Y, rcond=None)[0]
    fitted = estimator.fit(X * scale, Y)
    np.testing.assert_allclose(fitted.coef_ * scale, exact[:-1], rtol=1e-9)
    np.testing.assert_allclose(fitted.intercept_, exact[-1], rtol=1e-9)


@pytest.mark.parametrize("estimator", UNPENALIZED, ids=repr)
@pytest.mark.parametrize("small", [1.0, 1e-3, 1e-5, 1e-8, 1e-14, 1e-40])
def test_equal_columns_share_a_coefficient_if_another_feature_has_a_small_scale(estimator, small: float) -> None:
    columns = np.c_[X[:, 0], X[:, 0], small * X[:, 1], np.full(60, 0.1)]
    exact = np.linalg.lstsq(np.c_[X[:, :2], np.ones(60)], Y, rcond=None)[0]
    fitted = estimator.fit(columns, Y)
    np.testing.assert_allclose(fitted.coef_, [exact[0] / 2, exact[0] / 2, exact[1] / small, 0], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(fitted.intercept_, exact[2], rtol=1e-8)


@pytest.mark.parametrize("scale", [1.0, 1e-10, 1e-20])
def test_more_features_than_examples_are_fitted_exactly_at_every_scale(scale: float) -> None:
    wide = np.random.default_rng(0).normal(size=(10, 30)) * np.where(np.arange(30) < 8, 1.0, scale)
    for estimator in UNPENALIZED:
        np.testing.assert_allclose(estimator.fit(wide, Y[:10]).predict(wide), Y[:10], rtol=1e-9)
    weight = LinearRegression().fit(wide[:, :8], Y[:10]).coef_
    np.testing.assert_allclose(weight, linear_model.LinearRegression().fit(wide[:, :8], Y[:10]).coef_, rtol=1e-8)


def test_a_penalty_below_rounding_gives_equal_columns_equal_coefficients() -> None:
    """For y = 3 x and two equal columns x, coefficients add up to 3; their sum of squares is smallest at 1.5 each."""
    x = np.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    np.testing.assert_allclose(Ridge(1e-30).fit(x, 3 * x[:, 0]).coef_, [1.5, 1.5], rtol=1e-9)


def test_batch_gradient_descent_reaches_the_normal_equation_and_stochastic_descent_approaches_it() -> None:
    exact = LinearRegression("normal").fit(LINE_X, LINE_Y)
    batch = LinearRegression("batch", learning_rate=0.1, epochs=1000).fit(LINE_X, LINE_Y)  # Géron 2019, chapter 4
    assert batch.coef_ == pytest.approx(exact.coef_, rel=1e-8)
    assert batch.intercept_ == pytest.approx(exact.intercept_, rel=1e-8)
    for solver in ("sgd", "minibatch"):
        stochastic = LinearRegression(solver, random_state=0).fit(LINE_X, LINE_Y)
        assert stochastic.coef_ == pytest.approx(exact.coef_, abs=0.3)
        assert stochastic.coef_ != pytest.approx(exact.coef_, rel=1e-8)


def test_the_steps_of_stochastic_descent_are_those_of_its_schedule() -> None:
    """One example at a time: w ← w - t0 / (t + t1) 2 (x w + b - y) x."""
    fitted = LinearRegression("sgd", epochs=2, t0=3.0, t1=40.0).fit(LINE_X[:1], LINE_Y[:1])
    (x,), y, w, b = LINE_X[0], LINE_Y[0], 0.0, 0.0
    for t in range(2):
        slope = 3.0 / (t + 40.0) * 2 * (x * w + b - y)
        w, b = w - slope * x, b - slope
    assert (fitted.coef_[0], fitted.intercept_) == pytest.approx((w, b), rel=1e-12)


@pytest.mark.parametrize("kind", [LinearRegression, Ridge, ElasticNet, Lasso])
def test_a_learning_rate_of_zero_keeps_the_initial_weights(kind) -> None:
    fitted = kind(solver="batch", learning_rate=0.0, epochs=2).fit(X, Y)
    assert (fitted.coef_.tolist(), fitted.intercept_) == ([0.0] * 5, 0.0)


@pytest.mark.parametrize("solver", ["sgd", "minibatch"])
def test_stochastic_descent_does_not_diverge_for_large_features(solver: str) -> None:
    """With t1 = 2 t0 (x² + 1) and x = 1000, the first learning rate is 1 / (2 (x² + 1)): one step fits the example."""
    x, y = np.array([[1000.0]]), np.array([2.0])
    one_example = LinearRegression(solver, epochs=1).fit(x, y)
    assert one_example.predict(x) == pytest.approx(y, rel=1e-9)
    fitted = LinearRegression(solver, random_state=0).fit(1000 * LINE_X, LINE_Y)
    exact = np.linalg.lstsq(np.c_[1000 * LINE_X, np.ones(100)], LINE_Y, rcond=None)[0]
    assert fitted.score(1000 * LINE_X, LINE_Y) > 0
    assert fitted.coef_[0] == pytest.approx(exact[0], rel=1.0)


def test_a_diverging_learning_rate_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="learning rate"):
        LinearRegression("batch", learning_rate=50.0).fit(LINE_X, LINE_Y)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("estimator", [Lasso(5.0), Lasso(0.5), ElasticNet(0.5, l1_ratio=0.3)], ids=repr)
def test_the_subgradient_of_the_cost_contains_zero_at_the_sparse_minimum(estimator, weights) -> None:
    """The gradient of the mean data cost is -l1 sign(w) - l2 w; where w = 0, its absolute value is at most l1."""
    fitted = estimator.fit(X, Y, sample_weight=weights)
    share = np.full(60, 1 / 60) if weights is None else weights / weights.sum()
    error = X @ fitted.coef_ + fitted.intercept_ - Y
    ratio, w = estimator.l1_ratio, fitted.coef_
    l1, l2 = estimator.alpha * ratio, estimator.alpha * (1 - ratio)
    gradient = X.T @ (share * error) + l2 * w
    assert share @ error == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(gradient[w != 0], -l1 * np.sign(w[w != 0]), atol=1e-5)
    assert (np.abs(gradient[w == 0]) <= l1).all()
    assert (estimator.alpha < 5) or (w == 0).any()


def test_the_lasso_of_correlated_features_is_at_its_minimum() -> None:
    """At scikit-learn's default tolerance, the coefficients for the diabetes data are wrong by 0.03."""
    x, y = load_diabetes(return_X_y=True)
    fitted = Lasso(0.5).fit(x, y)
    w = fitted.coef_
    gradient = x.T @ (x @ w + fitted.intercept_ - y) / len(x)
    np.testing.assert_allclose(gradient[w != 0], -0.5 * np.sign(w[w != 0]), atol=1e-8)
    assert (np.abs(gradient[w == 0]) <= 0.5).all()


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_proximal_gradient_descent_approaches_the_sparse_minimum(ratio: float) -> None:
    fitted = ElasticNet(5.0, l1_ratio=ratio, solver="batch", epochs=300).fit(X, Y)
    expected = linear_model.ElasticNet(5.0, l1_ratio=ratio, tol=1e-10).fit(X, Y)
    np.testing.assert_array_equal(fitted.coef_ == 0, expected.coef_ == 0)
    np.testing.assert_allclose(fitted.coef_, expected.coef_, atol=0.02 * np.abs(expected.coef_).max())


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LinearRegression("cg"), "solver must be one of svd"),
        (Ridge(-1.0), "alpha must be at least 0"),
        (ElasticNet(l1_ratio=2.0), "l1_ratio must be from 0 to 1"),
        (Ridge("1"), "alpha must be at least 0, not '1'"),
        (ElasticNet("a"), "alpha must be at least 0, not 'a'"),
        (ElasticNet(l1_ratio="a"), "l1_ratio must be from 0 to 1, not 'a'"),
        (LinearRegression("batch", learning_rate=-0.1), "lr"),
        (LinearRegression("sgd", t0=-1.0), "t0"),
        (LinearRegression("sgd", epochs=0), "epochs"),
    ],
)
def test_the_error_for_an_invalid_parameter_names_it(estimator, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, Y)


@pytest.mark.parametrize(
    ("x", "y", "weights", "message"),
    [
        (np.array([["a", "b"], ["c", "d"]]), [1.0, 2.0], None, "could not convert string to float"),
        (np.array([[1.0, np.nan], [2.0, 3.0]]), [1.0, 2.0], None, "contains NaN"),
        (X, Y, np.zeros(60), "non-zero number"),
        (X, Y, -np.ones(60), "Negative values"),
    ],
)
def test_wrong_data_raise_the_errors_of_scikit_learn(x, y, weights, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ridge().fit(x, y, sample_weight=weights)


def test_coefficients_and_their_paths_are_drawn() -> None:
    figure = Ridge().fit(X, Y).plot()
    assert [round(bar.get_width(), 6) for bar in figure.axes[0].patches] == sorted(
        np.round(linear_model.Ridge().fit(X, Y).coef_, 6), key=abs, reverse=True
    )
    corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # orthogonal: soft thresholds
    figure = Lasso().plot_path(corners, corners @ [3.0, -7.0], [0.1, 1.0, 10.0])
    drawn_paths = [line.get_ydata() for line in figure.axes[0].lines[:2]]
    np.testing.assert_allclose(drawn_paths, [[-6.9, -6.0, 0.0], [2.9, 2.0, 0.0]], atol=1e-9)


def test_the_network_has_the_coefficients_and_pellucids_tools() -> None:
    for estimator in (LinearRegression(), Ridge(solver="batch", epochs=20), Lasso()):
        model = estimator.fit(X, Y).model_
        assert model["dense1"].params["weight"].numpy()[0] == pytest.approx(estimator.coef_)
        assert model.verify(X[:4], Y[:4]).ok
        maps = model.explain(X[:3], "input_x_gradient").numpy()
        np.testing.assert_allclose(maps, X[:3] * estimator.coef_)
        trace = model.trace(X[:1], Y[:1])
        assert trace["dense1.y"].item() == pytest.approx(estimator.predict(X[:1])[0])
        assert model.doctor(X, Y).findings is not None
