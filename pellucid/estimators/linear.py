"""Linear regression as a network of one layer, solved in closed form or by gradient descent."""

from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from sklearn import linear_model
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data

from pellucid.base.settings.tensors import as_tensor
from pellucid.estimators.base import (
    Array,
    NetworkEstimator,
    checked_weights,
    coefficients,
    one_layer,
    raising_value_errors,
    seed_of,
    train,
)
from pellucid.estimators.least_squares import closed_form, curvature, max_example_curvature
from pellucid.estimators.plotting import CoefficientPlot, PathPlot
from pellucid.optim import SGD, regularizers
from pellucid.optim.schedules import InverseTime
from pellucid.run.history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# With an L1 penalty, the learning rate decays to 1 / (DECAY + 1) of its initial value, because each gradient step moves
# weights that should be 0 away from 0, in proportion to the learning rate.
DECAY = 20
MIN_T1 = 50.0  # the minimum of the default t1
TOLERANCE = 1e-12  # of the duality gap, relative to Σ y²; coordinate descent is then accurate to about 1e-6
DEFAULT_EPOCHS = {"batch": 1000, "minibatch": 50, "sgd": 50}  # defaults of LinearRegression, by solver


class _LinearRegressor(CoefficientPlot, RegressorMixin, NetworkEstimator):
    """A regressor y = X w + b with `coef_` (n_features,) and `intercept_`, the parameters of `model_`."""

    solvers: ClassVar[tuple[str, ...]]
    solver: str
    fit_intercept: bool
    coef_: Array
    intercept_: float

    @raising_value_errors()
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to X (n, n_features) and y (n,), with sample weights (n,)."""
        if self.solver not in self.solvers:
            raise ValueError(f"solver must be one of {', '.join(self.solvers)}, not {self.solver!r}")
        X, y = validate_data(self, X, y, y_numeric=True, dtype=np.float64)
        weights = checked_weights(sample_weight, X)
        self._solve(X, y.astype(np.float64), weights)
        return self

    def predict(self, X: Any) -> Array:
        """Return X w + b, (n,)."""
        return self._network_outputs(X)[:, 0]

    def plot(self) -> "Figure":
        """Draw the coefficients as bars, one for each feature."""
        return self.plot_coefficients()

    def _solve(self, X: Array, y: Array, weights: Array | None) -> None:
        raise NotImplementedError

    def _store_solution(self, weight: Array, intercept: float) -> None:
        """Store the solution, and the network with these parameters."""
        self.model_ = model = one_layer(len(weight), 1, True, "quadratic", SGD(0.1))
        params = model["dense1"].params
        params["weight"].copy_(torch.from_numpy(np.ascontiguousarray(weight))[None])
        params["bias"].fill_(intercept)
        self.coef_, self.intercept_ = weight, float(intercept)

    def _descend(
        self, X: Array, y: Array, weights: Array | None, rate: float, epochs: int, batch_size: int, **settings: Any
    ) -> None:
        """Train a network, and store it with its parameters; settings: additional arguments of Model."""
        model = one_layer(X.shape[1], 1, self.fit_intercept, "quadratic", SGD(rate), **settings)
        self.history_: History = train(
            model, as_tensor(X, "X"), as_tensor(y, "y"), weights, epochs=epochs, batch_size=batch_size
        )
        self.model_ = model
        weight, bias = coefficients(model)
        self.coef_, self.intercept_ = weight[0], float(bias[0])


class LinearRegression(_LinearRegressor):
    """Least squares as a network of one layer.

    Unlike scikit-learn's class, it has a choice of `solver`: "svd", the pseudoinverse X⁺ y; "normal", the normal
    equation Xᵀ X w = Xᵀ y, which squares the condition number ("svd" is used if the matrix becomes singular); "batch",
    "minibatch" and "sgd", gradient descent on the mean squared error 1/n Σ (x w + b - y)² from w = 0, with all,
    `batch_size` or one of the examples in each step. epochs: by default 1,000 for "batch", otherwise 50.
    learning_rate: for "batch", by default 1/L, where L is the largest eigenvalue of the Hessian. t0, t1: the learning
    rate of step t = 0, 1, ... of "minibatch" and "sgd" is t0 / (t + t1); t1 is by default 50, or larger if the first
    step on the example of largest norm would otherwise overshoot its minimum. random_state: determines the order of
    examples. Raises ValueError if gradient descent diverges.
    Source: Géron 2019, Hands-on machine learning, chapter 4; Bottou 2012, Stochastic gradient descent tricks.
    """

    solvers: ClassVar[tuple[str, ...]] = ("svd", "normal", "batch", "minibatch", "sgd")

    def __init__(
        self,
        solver: str = "svd",
        *,
        fit_intercept: bool = True,
        learning_rate: float | None = None,
        epochs: int | None = None,
        batch_size: int = 32,
        t0: float = 5.0,
        t1: float | None = None,
        random_state: Any = None,
    ) -> None:
        self.solver = solver
        self.fit_intercept = fit_intercept
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.t0 = t0
        self.t1 = t1
        self.random_state = random_state

    def _solve(self, X: Array, y: Array, weights: Array | None) -> None:
        if self.solver in ("svd", "normal"):
            self._store_solution(*closed_form(X, y, weights, 0.0, self.fit_intercept, self.solver))
            return
        # The gradient of the mean squared error is twice that of Quadratic, which has the factor 1/2.
        rate, schedule = 2.0, None
        if self.solver == "batch":
            rate = self.learning_rate
            rate = 1 / curvature(X, weights, self.fit_intercept) if rate is None else 2 * rate
        else:
            max_curvature = max_example_curvature(X, weights, self.fit_intercept)
            if self.solver == "sgd" and weights is not None:  # in a batch, a large weight is averaged with others
                max_curvature *= weights.max() / weights.mean()
            t1 = max(MIN_T1, 2 * self.t0 * max_curvature) if self.t1 is None else self.t1
            schedule = InverseTime(self.t0, t1, "steps")
        batch_size = {"batch": len(X), "minibatch": self.batch_size, "sgd": 1}[self.solver]
        epochs = DEFAULT_EPOCHS[self.solver] if self.epochs is None else self.epochs
        self._descend(X, y, weights, rate, epochs, batch_size, schedule=schedule, seed=seed_of(self.random_state))


class Ridge(PathPlot, _LinearRegressor):
    """Least squares with an L2 penalty, ‖y - X w - b‖² + alpha ‖w‖², as a network of one layer.

    Unlike in scikit-learn, `solver` is "normal", (Xᵀ X + alpha I)⁻¹ Xᵀ y on centred data; "svd"; or "batch", gradient
    descent with pellucid.optim.L2 in `epochs` steps. learning_rate: of "batch", for the cost divided by 2 n; by default
    1/L, where L is the largest eigenvalue of the Hessian of this cost.
    Source: Hoerl and Kennard 1970, Ridge regression: biased estimation for nonorthogonal problems.
    """

    solvers: ClassVar[tuple[str, ...]] = ("normal", "svd", "batch")

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        solver: str = "normal",
        fit_intercept: bool = True,
        learning_rate: float | None = None,
        epochs: int = 1000,
    ) -> None:
        self.alpha = alpha
        self.solver = solver
        self.fit_intercept = fit_intercept
        self.learning_rate = learning_rate
        self.epochs = epochs

    def _solve(self, X: Array, y: Array, weights: Array | None) -> None:
        check_penalty(self.alpha)
        if self.solver != "batch":
            self._store_solution(*closed_form(X, y, weights, self.alpha, self.fit_intercept, self.solver))
            return
        rate = self.learning_rate
        n_examples = len(X) if weights is None else weights.sum()
        rate = 1 / (curvature(X, weights, self.fit_intercept) + self.alpha / n_examples) if rate is None else rate
        self._descend(X, y, weights, rate, self.epochs, len(X), regularizer=regularizers.L2(self.alpha))


class ElasticNet(PathPlot, _LinearRegressor):
    """Least squares with L1 and L2 penalties, as a network of one layer.

    The cost is 1/2n ‖y - X w - b‖² + alpha l1_ratio ‖w‖₁ + alpha (1 - l1_ratio) / 2 ‖w‖².
    Unlike in scikit-learn, `solver` is "coordinate", scikit-learn's coordinate descent with at most `epochs`
    iterations, or "batch", gradient descent in `epochs` steps with L2 and the decoupled L1 of pellucid.optim, whose
    soft threshold sets weights to exactly 0; it ends near the minimum. learning_rate: the initial learning rate of
    "batch", by default 1/L, where L is the largest eigenvalue of the Hessian; it decays to about a twentieth of it.
    Source: Zou and Hastie 2005, Regularization and variable selection via the elastic net.
    """

    solvers: ClassVar[tuple[str, ...]] = ("coordinate", "batch")

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        l1_ratio: float = 0.5,
        solver: str = "coordinate",
        fit_intercept: bool = True,
        learning_rate: float | None = None,
        epochs: int = 1000,
    ) -> None:
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.solver = solver
        self.fit_intercept = fit_intercept
        self.learning_rate = learning_rate
        self.epochs = epochs

    def _solve(self, X: Array, y: Array, weights: Array | None) -> None:
        check_penalty(self.alpha)
        ratio: Any = self.l1_ratio
        if not is_real(ratio) or not 0 <= ratio <= 1:
            raise ValueError(f"l1_ratio must be from 0 to 1, not {ratio!r}")
        if self.solver == "coordinate":
            solution = linear_model.ElasticNet(
                self.alpha, l1_ratio=ratio, fit_intercept=self.fit_intercept, max_iter=self.epochs, tol=TOLERANCE
            ).fit(X, y, weights)
            self._store_solution(solution.coef_, float(solution.intercept_))
            return
        l1, l2 = self.alpha * ratio, self.alpha * (1 - ratio)
        n_examples = len(X) if weights is None else float(weights.sum())
        # decoupled, weights shrink before the update, but by the gradient of the unshrunk ones: the result is near the
        # minimum, not at it, and the nearer the smaller the last rates are
        penalties = [regularizers.L1(l1, decoupled=True), regularizers.L2(l2 * n_examples)]
        rate = self.learning_rate
        rate = 1 / (curvature(X, weights, self.fit_intercept) + l2) if rate is None else rate
        delay = max(self.epochs / DECAY, 1.0)
        schedule = InverseTime(delay, delay, "steps")
        self._descend(X, y, weights, rate, self.epochs, len(X), schedule=schedule, regularizer=penalties)
        weight = self.model_["dense1"].params["weight"]
        weight[weight.abs() <= l1 * self.history_.last["lr"]] = 0.0  # as the next step's soft threshold does
        self.coef_ = weight[0].numpy().copy()


class Lasso(ElasticNet):
    """Least squares with an L1 penalty, 1/2n ‖y - X w - b‖² + alpha ‖w‖₁, as a network of one layer.

    Unlike in scikit-learn, `solver` is "coordinate" or "batch", as in ElasticNet.
    Source: Tibshirani 1996, Regression shrinkage and selection via the lasso.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        solver: str = "coordinate",
        fit_intercept: bool = True,
        learning_rate: float | None = None,
        epochs: int = 1000,
    ) -> None:
        super().__init__(
            alpha, l1_ratio=1.0, solver=solver, fit_intercept=fit_intercept, learning_rate=learning_rate, epochs=epochs
        )


def is_real(value: Any) -> bool:
    """Return whether a value is a real number, including NumPy's types."""
    return isinstance(value, Real)


def check_penalty(alpha: Any) -> None:
    """Raise ValueError unless the penalty is a number of at least 0."""
    if not is_real(alpha) or not alpha >= 0:
        raise ValueError(f"alpha must be at least 0, not {alpha!r}")
