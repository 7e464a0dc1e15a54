"""Linear regression.

A linear model y = w x + b is a network of one layer without an activation: a straight line with the slope w and the
height b at x = 0. Its mean squared error, the mean of (prediction - y)² over the points, has one minimum, which can be
computed in closed form, by a formula without steps, or reached by gradient descent. With more features the same model
fits curves, and then must be prevented from fitting noise.
"""

from typing import Any

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import learning_curve
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from pellucid import Dense, EarlyStopping, Model, Sequential
from pellucid.estimators import ElasticNet, Lasso, LinearRegression, Ridge
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.optim import SGD
from pellucid.report.figures import regression as figures
from pellucid.report.figures.regression import coefficient_paths
from pellucid.report.figures.style import INK

DEGREES = (1, 2, 10, 90)
HISTORY_COLUMNS = {"training": "train_loss", "validation": "val_loss"}
# Numbers of epochs after which the distance from the solution is drawn.
PASSES = {"batch": (1, 3, 10, 30, 100, 300), "sgd": (1, 2, 5, 10, 20)}


def polynomial(degree: int) -> Pipeline:
    """Return a least-squares regressor on the powers x, x², ..., each scaled to standard deviation 1."""
    return make_pipeline(PolynomialFeatures(degree, include_bias=False), StandardScaler(), LinearRegression())


def parabola(seed: int, count: int = 100, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return x (count, 1) in [-3, 3) and y = x²/2 + x + 2 + noise of this standard deviation, (count,)."""
    rng = np.random.default_rng(seed)
    x = 6 * rng.random((count, 1)) - 3
    return x, 0.5 * x[:, 0] ** 2 + x[:, 0] + 2 + noise * rng.normal(size=count)


def rmse(model: Pipeline, x: np.ndarray, y: np.ndarray) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(np.mean((model.predict(x) - y) ** 2)))


def line(settings: LessonSettings) -> Result:
    """Four ways to one line.

    100 points lie around y = 5 + 7 x. X is the table of the inputs, with a 1 and x in each row, and θ are the two
    numbers to find, height and slope. The gradient of the mean squared error is 0 at the solution of the normal
    equation (XᵀX) θ = Xᵀy. The pseudoinverse X⁺, computed from the singular value decomposition of X, gives the same
    solution X⁺y, also if XᵀX has no inverse. Batch gradient descent with the learning rate 0.1 comes within 1e-8 of the
    solution in 1,000 steps. Stochastic descent uses one example at a time, with the learning rate 5/(t + 50) at step t.
    It is close to the solution after a few epochs, and then approaches it slowly, as its learning rate falls.
    """
    rng = np.random.default_rng(settings.seed)
    x = 2 * rng.random((100, 1))
    y = 5 + 7 * x[:, 0] + rng.normal(size=100)

    def fit_theta(solver: str, epochs: int | None = None) -> np.ndarray:
        rate = 0.1 if solver == "batch" else None
        model = LinearRegression(solver, learning_rate=rate, epochs=epochs, random_state=settings.seed).fit(x, y)
        return np.array([model.intercept_, model.coef_[0]])

    solutions = {solver: fit_theta(solver) for solver in ("normal", "svd", "batch", "sgd")}
    passes = {"batch": (1, 10, 100), "sgd": (1, 10)} if settings.small else PASSES
    last_thetas = {"batch": (1000, solutions["batch"]), "sgd": (50, solutions["sgd"])}
    distances = {
        solver: [
            (n_epochs, float(np.linalg.norm(theta - solutions["svd"])))
            for n_epochs, theta in [
                *((n_epochs, fit_theta(solver, n_epochs)) for n_epochs in epoch_counts),
                last_thetas[solver],
            ]
        ]
        for solver, epoch_counts in passes.items()
    }
    numbers = {name: theta.tolist() for name, theta in solutions.items()}
    return Result(numbers, figures.fitted_lines(x[:, 0], y, solutions["svd"], solutions["sgd"], distances))


def polynomials(settings: LessonSettings, count: int = 100, noise: float = 1.0) -> Result:
    """Polynomial features.

    100 points lie around a parabola. With x², x³, ... as additional features, least squares fits a polynomial. A line
    is too simple: it underfits. The degree is the highest power of x. A polynomial of degree 90 has nearly as many
    coefficients as there are points. It follows the noise, and its error on 1,000 new points is larger than the error
    of a parabola.
    """
    x, y = parabola(settings.seed, count, noise)
    new_points = parabola(settings.seed + 1000, 1000, noise)
    models = {degree: polynomial(degree).fit(x, y) for degree in DEGREES}
    numbers = {
        f"degree {degree}": {"training error": rmse(model, x, y), "error on new points": rmse(model, *new_points)}
        for degree, model in models.items()
    }
    x_grid = np.linspace(x.min(), x.max(), 400)
    curves = {f"degree {degree}": model.predict(x_grid[:, None]) for degree, model in models.items()}
    return Result({"root mean squared error": numbers}, figures.fitted_curves(x[:, 0], y, x_grid, curves))


def learning_curves(settings: LessonSettings) -> Result:
    """Learning curves.

    Learning curves show the error on the training points and on held-out points by the number of training points. The
    two curves of a model that underfits meet at a high error: more points do not help. A model that overfits has a low
    training error and a far higher validation error; the gap closes as points are added. The validation errors of
    degree 90 are too large for the figure.
    """
    x, y = parabola(settings.seed)
    counts = [20, 30, 40, 50, 65] if settings.small else [20, 30, 40, 50, 60, 70, 80]
    curves: dict[str, dict[str, list[float]]] = {}
    for degree in DEGREES:
        _, training, validation = learning_curve(
            polynomial(degree), x, y, train_sizes=np.array(counts), cv=3 if settings.small else 5,
            scoring="neg_root_mean_squared_error", shuffle=True, random_state=settings.seed,
        )[:3]  # fmt: skip
        errors = {"training": (-training).mean(1).tolist(), "validation": (-validation).mean(1).tolist()}
        curves[f"degree {degree}"] = errors
    return Result({"points": counts, **curves}, figures.learning_curves(counts, curves))


def penalties(settings: LessonSettings, alpha: float = 10.0) -> Result:
    """Ridge, lasso and elastic net.

    A penalty on the weights keeps them small. The cost is 1/2n ‖y - X w - b‖² plus alpha/2 ‖w‖² for ridge, alpha ‖w‖₁
    (the sum of the sizes) for the lasso, and half of both for the elastic net. With growing alpha, ridge shrinks all
    weights but makes none of them exactly 0. The lasso sets more and more weights to 0, and so selects features. The
    data are ten measurements of each of 442 patients, scaled to standard deviation 1.
    """
    data: Any = load_diabetes()
    x, y = StandardScaler().fit_transform(data.data), data.target
    alphas = np.logspace(-2, 3, 11 if settings.small else 41)
    models = {  # the cost of Ridge is 2 n times the one above
        "ridge": lambda alpha: Ridge(alpha * len(x)),
        "lasso": lambda alpha: Lasso(alpha, epochs=100_000),
        "elastic net": lambda alpha: ElasticNet(alpha, l1_ratio=0.5, epochs=100_000),
    }
    paths = {
        name: np.array([make_model(alpha).fit(x, y).coef_ for alpha in alphas]) for name, make_model in models.items()
    }
    zeros = {name: int((make_model(alpha).fit(x, y).coef_ == 0).sum()) for name, make_model in models.items()}
    figure = coefficient_paths(data.feature_names, alphas, paths)
    for plot in figure.axes:
        plot.axvline(alpha, color=INK, linestyle="--", linewidth=1)
    return Result({f"weights that are 0 at alpha = {alpha:g}": zeros}, figure)


def early_stopping(settings: LessonSettings, degree: int = 15, noise: float = 1.0) -> Result:
    """Early stopping.

    A polynomial of degree 15 is fitted to 15 points by gradient descent. Its training error keeps falling. The error on
    85 validation points, which are not used for the fit, falls first, and rises when the polynomial fits the noise.
    Early stopping ends the training when the validation error has not improved for 200 epochs, and restores the weights
    of its minimum.
    """
    x, y = parabola(settings.seed, noise=noise)
    features = make_pipeline(PolynomialFeatures(degree, include_bias=False), StandardScaler())
    inputs = features.fit(x[:15]).transform(x)

    epochs = 700 if settings.small else 1500

    def train(*callbacks: EarlyStopping) -> tuple[Model, list[dict[str, float]]]:
        net = Sequential(Dense(1, init_weight="zeros"))
        model = Model(net, "quadratic", SGD(0.05), metrics=(), input_shape=(degree,), precision="float64")
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
GUIDE = Guide(
    question="How does one find the line or the curve that fits points best, and when does it fit too well?",
    minutes=20,
    needs=("descent",),
    guesses={
        "line": Guess(
            "Batch descent takes one step for each pass over the 100 points, stochastic descent 100. Which one is "
            "nearer to the best line after one pass, and which one in the end?",
            (
                "batch descent both times, since it sees all points at once",
                "first the stochastic one, in the end batch descent",
                "the stochastic one both times, since it takes more steps",
            ),
            1,
            "Many rough steps lead near the minimum quickly. Close to it, single points pull in different directions.",
        ),
        "polynomials": Guess(
            "A polynomial of degree 90 passes nearer to the 100 points than one of degree 2. Which one predicts new "
            "points better?",
            ("that of degree 90, as it fits better", "that of degree 2", "both equally well"),
            1,
            "What degree 90 gains is noise of these 100 points, which new points do not share.",
        ),
        "early_stopping": Guess(
            "The training error falls in every epoch. What does the error on other points do?",
            ("it falls, too", "it falls, then rises", "it rises from the beginning"),
            1,
            "First the curve takes the shape of the data, which helps everywhere; then it takes that of the noise.",
        ),
    },
    sliders={
        "polynomials": (
            Slider(
                "count",
                "training points",
                (20, 40, 100, 300),
                {
                    20: "Degree 90 passes through all 20 points and swings wildly between them.",
                    300: "With more points, degree 10 is nearly as good as degree 2.",
                },
            ),
            Slider(
                "noise",
                "noise (standard deviation)",
                (0.0, 0.5, 1.0, 2.0),
                {0.0: "Without noise, degrees 2 and 10 find the parabola exactly; only the line is still wrong."},
            ),
        ),
        "penalties": (
            Slider(
                "alpha",
                "strength of the penalty, alpha, at the dashed line",
                (0.1, 1.0, 10.0, 50.0, 300.0),
                {300.0: "The lasso has no weight left: it predicts the same for every patient."},
            ),
        ),
        "early_stopping": (
            Slider(
                "degree",
                "degree of the polynomial",
                (1, 2, 5, 15),
                {1: "A line cannot fit the noise of 15 points: nothing is gained by stopping."},
            ),
            Slider("noise", "noise (standard deviation)", (0.0, 1.0, 2.0)),
        ),
    },
    notices={
        "line": (
            "On the left, both lines lie on one another: for a prediction, the difference does not matter.",
            "On the right, both axes are logarithmic. The orange curve of stochastic descent is low after a single "
            "pass. The blue one of batch descent begins high, and ends far below it, with an error of rounding only.",
        ),
        "polynomials": (
            "From left to right: the line misses the bend, degree 2 follows it, degree 10 adds small waves, and degree "
            "90 chases single points and leaves the plot at the ends.",
            "In the numbers, the training error falls with the degree. The error on new points falls to degree 2, "
            "where it is about the size of the noise, and rises again.",
        ),
        "learning_curves": (
            "Look at the gap between the two curves. For degree 1 it is small, but both curves are high: the model is "
            "too simple. For degree 10 it is wide on the left and closes to the right: the model needed more points.",
            "For degree 2 both curves are low from the beginning: the right model needs the fewest points.",
        ),
        "penalties": (
            "Each curve is one weight, and the penalty grows to the left. The curves of ridge approach 0 without "
            "reaching it; those of the lasso reach 0 one after the other and stay there.",
            "Move the dashed line and compare the counts in the numbers with the curves that are at 0 there.",
        ),
        "early_stopping": (
            "The two curves fall together at first, then part: from there on, most of what is learned is only "
            "true of the 15 training points. The dashed line marks the lowest validation error.",
            "To the right of it the training error still falls. Whoever sees only that curve believes in progress.",
        ),
    },
    notice_plots={"line": ((0,), (1,)), "learning_curves": ((0, 2), (1,)), "penalties": ((0, 1), ())},
    exercises=(
        Exercise(
            "Three points: (0, 1), (1, 2), (2, 6). What is the slope of the line with the least squared error?",
            2.5,
            0.01,
            "The means are 1 and 3. The slope is the sum of (x - 1)(y - 3), 2 + 0 + 3, over the sum of (x - 1)², 2.",
            {1: "That is the slope from the first to the second point.", 4: "That is the slope between the last two."},
        ),
        Exercise(
            "One point, x = 2 and y = 4, and a model y = w x. The cost is ½ (y - w x)² + 2 w². Which w is best?",
            1,
            0.01,
            "The derivative -2 (4 - 2 w) + 4 w is 0 at w = 1. Without the penalty it would be 2.",
            {2: "That is the solution without the penalty; 2 w² pulls it towards 0."},
        ),
    ),
    functions={
        "line": FunctionExercise(
            "line(x, y): height at 0 and slope, as an array (2,), of the line with the least squared error through the "
            "points x (N,), y (N,).",
            lambda x, y: np.polynomial.polynomial.polyfit(x, y, 1),
            lambda random: (random.normal(size=10), random.normal(size=10)),
            "def line(x, y):\n"
            "    X = np.column_stack([np.ones(len(x)), x])\n"
            "    return np.linalg.solve(X.T @ X, X.T @ y)",
        )
    },
    later="Networks overfit in the same way; penalties, early stopping and more data help them, too.",
    studio="#play?problem=slope&noise=0.3&hidden=~",
)
