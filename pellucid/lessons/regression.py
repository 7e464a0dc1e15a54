"""Linear regression.

A linear model y = w x + b is a network of one layer without an activation. Its mean squared error has one minimum,
which can be computed in closed form or reached by gradient descent. With more features the same model fits curves, and
then must be prevented from fitting noise.
"""

from typing import Any

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import learning_curve
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from pellucid import Dense, EarlyStopping, Model, Sequential
from pellucid.estimators import ElasticNet, Lasso, LinearRegression, Ridge
from pellucid.lessons.lesson import Result, Setting
from pellucid.optim import SGD
from pellucid.report.figures import regression as figures
from pellucid.report.figures.regression import coefficient_paths

DEGREES = (1, 2, 10, 90)
HISTORY_COLUMNS = {"training": "train_loss", "validation": "val_loss"}
# Numbers of epochs after which the distance from the solution is drawn.
PASSES = {"batch": (1, 3, 10, 30, 100, 300), "sgd": (1, 2, 5, 10, 20)}


def polynomial(degree: int) -> Pipeline:
    """Return a least-squares regressor on the powers x, x², ..., each scaled to standard deviation 1."""
    return make_pipeline(PolynomialFeatures(degree, include_bias=False), StandardScaler(), LinearRegression())


def parabola(seed: int, count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Return x (count, 1) in [-3, 3) and y = x²/2 + x + 2 + noise of standard deviation 1, (count,)."""
    rng = np.random.default_rng(seed)
    x = 6 * rng.random((count, 1)) - 3
    return x, 0.5 * x[:, 0] ** 2 + x[:, 0] + 2 + rng.normal(size=count)


def rmse(model: Pipeline, x: np.ndarray, y: np.ndarray) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(np.mean((model.predict(x) - y) ** 2)))


def line(setting: Setting) -> Result:
    """Four ways to one line.

    100 points lie around y = 5 + 7 x. The gradient of the mean squared error is 0 at the solution of the normal
    equation (XᵀX) θ = Xᵀy. The pseudoinverse X⁺, computed from the singular value decomposition of X, gives the same
    solution X⁺y, also if XᵀX has no inverse. Batch gradient descent with the learning rate 0.1 comes within 1e-8 of the
    solution in 1,000 steps. Stochastic descent uses one example at a time, with the learning rate 5/(t + 50) at step t.
    It is close to the solution after a few epochs, and then approaches it slowly, as its learning rate falls.
    """
    rng = np.random.default_rng(setting.seed)
    x = 2 * rng.random((100, 1))
    y = 5 + 7 * x[:, 0] + rng.normal(size=100)

    def fit_theta(solver: str, epochs: int | None = None) -> np.ndarray:
        rate = 0.1 if solver == "batch" else None
        model = LinearRegression(solver, learning_rate=rate, epochs=epochs, random_state=setting.seed).fit(x, y)
        return np.array([model.intercept_, model.coef_[0]])

    solutions = {solver: fit_theta(solver) for solver in ("normal", "svd", "batch", "sgd")}
    passes = {"batch": (1, 10, 100), "sgd": (1, 10)} if setting.small else PASSES
    last_thetas = {"batch": (1000, solutions["batch"]), "sgd": (50, solutions["sgd"])}
    distances = {
        solver: [
            (n, float(np.linalg.norm(theta - solutions["svd"])))
            for n, theta in [*((n, fit_theta(solver, n)) for n in counts), last_thetas[solver]]
        ]
        for solver, counts in passes.items()
    }
    numbers = {name: theta.tolist() for name, theta in solutions.items()}
    return Result(numbers, figures.fitted_lines(x[:, 0], y, solutions["svd"], solutions["sgd"], distances))


def polynomials(setting: Setting) -> Result:
    """Polynomial features.

    100 points lie around a parabola. With x², x³, ... as additional features, least squares fits a polynomial. A line
    is too simple: it underfits. A polynomial of degree 90 has nearly as many coefficients as there are points. It
    follows the noise, and its error on 1,000 new points is larger than the error of a parabola.
    """
    x, y = parabola(setting.seed)
    new_points = parabola(setting.seed + 1000, 1000)
    models = {degree: polynomial(degree).fit(x, y) for degree in DEGREES}
    numbers = {
        f"degree {degree}": {"training error": rmse(model, x, y), "error on new points": rmse(model, *new_points)}
        for degree, model in models.items()
    }
    x_grid = np.linspace(x.min(), x.max(), 400)
    curves = {f"degree {degree}": model.predict(x_grid[:, None]) for degree, model in models.items()}
    return Result({"root mean squared error": numbers}, figures.fitted_curves(x[:, 0], y, x_grid, curves))


def learning_curves(setting: Setting) -> Result:
    """Learning curves.

    Learning curves show the error on the training points and on held-out points by the number of training points. The
    two curves of a model that underfits meet at a high error: more points do not help. A model that overfits has a low
    training error and a far higher validation error; the gap closes as points are added. The validation errors of
    degree 90 are too large for the figure.
    """
    x, y = parabola(setting.seed)
    counts = [20, 30, 40, 50, 65] if setting.small else [20, 30, 40, 50, 60, 70, 80]
    curves: dict[str, dict[str, list[float]]] = {}
    for degree in DEGREES:
        _, training, validation = learning_curve(
            polynomial(degree), x, y, train_sizes=np.array(counts), cv=3 if setting.small else 5,
            scoring="neg_root_mean_squared_error", shuffle=True, random_state=setting.seed,
        )[:3]  # fmt: skip
        errors = {"training": (-training).mean(1).tolist(), "validation": (-validation).mean(1).tolist()}
        curves[f"degree {degree}"] = errors
    return Result({"points": counts, **curves}, figures.learning_curves(counts, curves))


def penalties(setting: Setting) -> Result:
    """Ridge, lasso and elastic net.

    A penalty on the weights keeps them small. The cost is 1/2n ‖y - X w - b‖² plus alpha/2 ‖w‖² for ridge, alpha ‖w‖₁
    for the lasso, and half of both for the elastic net. With growing alpha, ridge shrinks all weights but makes none of
    them exactly 0. The lasso sets more and more weights to 0, and so selects features. The data are ten measurements of
    each of 442 patients, scaled to standard deviation 1.
    """
    data: Any = load_diabetes()
    x, y = StandardScaler().fit_transform(data.data), data.target
    alphas = np.logspace(-2, 3, 11 if setting.small else 41)
    models = {  # the cost of Ridge is 2 n times the one above
        "ridge": lambda alpha: Ridge(alpha * len(x)),
        "lasso": lambda alpha: Lasso(alpha, epochs=100_000),
        "elastic net": lambda alpha: ElasticNet(alpha, l1_ratio=0.5, epochs=100_000),
    }
    paths = {
        name: np.array([make_model(alpha).fit(x, y).coef_ for alpha in alphas]) for name, make_model in models.items()
    }
    zeros = {name: int((make_model(10.0).fit(x, y).coef_ == 0).sum()) for name, make_model in models.items()}
    return Result({"weights that are 0 at alpha = 10": zeros}, coefficient_paths(data.feature_names, alphas, paths))


def early_stopping(setting: Setting) -> Result:
    """Early stopping.

    A polynomial of degree 15 is fitted to 15 points by gradient descent. Its training error keeps falling. The error on
    85 validation points falls first, and rises when the polynomial fits the noise. Early stopping ends the training
    when the validation error has not improved for 200 epochs, and restores the weights of its minimum.
    """
    x, y = parabola(setting.seed)
    features = make_pipeline(PolynomialFeatures(15, include_bias=False), StandardScaler())
    inputs = features.fit(x[:15]).transform(x)

    epochs = 700 if setting.small else 1500

    def train(*callbacks: EarlyStopping) -> tuple[Model, list[dict[str, float]]]:
        net = Sequential(Dense(1, init_weight="zeros"))
        model = Model(net, "quadratic", SGD(0.05), metrics=(), input_shape=(15,), precision="float64")
        held_out = (inputs[15:], y[15:])
        history = model.fit(
            inputs[:15], y[:15], epochs=epochs, batch_size=15, validation=held_out, callbacks=callbacks, verbose=False
        )
        return model, history.rows

    _, rows = train()
    early_model, early_rows = train(EarlyStopping(patience=200))
    curves = {name: [row[column] for row in rows] for name, column in HISTORY_COLUMNS.items()}
    best_index = int(np.argmin(curves["validation"]))
    output = early_model.predict(inputs[15:])[:, 0].numpy()
    numbers = {
        "epoch of the minimum": best_index + 1,
        "epochs with early stopping": len(early_rows),
        "half the mean squared validation error at the minimum": curves["validation"][best_index],
        "with early stopping": float(np.mean((output - y[15:]) ** 2) / 2),
        "at the end": curves["validation"][-1],
    }
    return Result(numbers, figures.early_stopping(curves, best_index))


STEPS = (line, polynomials, learning_curves, penalties, early_stopping)
