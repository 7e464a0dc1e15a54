"""Logistic and softmax regression, and the perceptron, as networks of one layer."""

import math
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import validate_data
from torch import Tensor

from pellucid.base.settings.tensors import as_tensor
from pellucid.base.text import plural
from pellucid.estimators.base import (
    Array,
    NetworkClassification,
    ProbabilisticClassification,
    checked_classes,
    checked_weights,
    coefficients,
    one_layer,
    raising_value_errors,
    seed_of,
    train,
)
from pellucid.estimators.least_squares import curvature
from pellucid.estimators.plotting import CoefficientPlot
from pellucid.losses import Loss
from pellucid.losses.targets import target_values
from pellucid.model import Model
from pellucid.nested import flatten
from pellucid.optim import SGD, Nesterov
from pellucid.optim.regularizers import L2
from pellucid.run.history import History, Row
from pellucid.training.callbacks import Callback, Training

STEPS_PER_EPOCH = 50  # gradient descent steps between two tests of convergence
MIN_CONVEXITY = 1e-6  # minimum of q, the ratio of the penalty's curvature to L, which is 0 without a penalty


class _LinearClassifier(CoefficientPlot, ProbabilisticClassification):
    """A classifier of one layer whose cross-entropy is minimized by Nesterov's accelerated gradient descent.

    The learning rate is 1/L, with L a bound on the curvature, and the momentum (1 - √q) / (1 + √q), with q the ratio of
    the penalty's curvature to L. Source: Nesterov 2004, Introductory lectures on convex optimization, scheme 2.2.11.
    """

    loss: ClassVar[str]
    max_second_derivative: ClassVar[float]  # bound on the second derivative of the loss with respect to the outputs
    coef_: Array
    intercept_: Array

    def __init__(
        self, C: float = 1.0, *, fit_intercept: bool = True, max_iter: int = 10_000, tol: float = 1e-8
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to X (n, n_features) and classes y (n,), with sample weights (n,)."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        weights = checked_weights(sample_weight, X)
        self.classes_, labels = checked_classes(y, weights)
        penalty_strength = self._penalty_strength()
        if isinstance(self.max_iter, bool) or not isinstance(self.max_iter, int | np.integer) or self.max_iter < 1:
            raise ValueError(f"max_iter must be a whole number of at least 1, not {self.max_iter!r}")
        penalty = penalty_strength / (len(X) if weights is None else weights.sum())  # factor of ‖w‖²/2 in the mean cost
        centre = np.average(X, 0, weights) if self.fit_intercept else np.zeros(X.shape[1])
        x = X - centre  # changes only the bias, and improves the conditioning
        max_curvature = self.max_second_derivative * curvature(x, weights, self.fit_intercept) + penalty
        q = math.sqrt(max(penalty / max_curvature, MIN_CONVEXITY))
        optimizer, class_names = Nesterov(1 / max_curvature, (1 - q) / (1 + q)), [str(name) for name in self.classes_]
        model = one_layer(X.shape[1], self._n_outputs(), self.fit_intercept, self.loss, optimizer, classes=class_names)
        convergence_test = ConvergenceTest(self.tol)
        examples = as_tensor(x, "X"), as_tensor(labels, "y")
        n_epochs, remaining_steps = divmod(self.max_iter, STEPS_PER_EPOCH)
        histories: list[History] = []
        # Epochs of STEPS_PER_EPOCH steps, each followed by a test of convergence, then the remaining steps.
        for epochs, steps in ((n_epochs, STEPS_PER_EPOCH), (1, remaining_steps)):
            if epochs and steps and not convergence_test.has_converged:
                model.regularizers = (
                    L2(penalty_strength * steps),
                )  # Model divides it by the number of examples of an epoch
                callbacks = [convergence_test] if steps == STEPS_PER_EPOCH else []
                with raising_value_errors():
                    history = train(
                        model, *examples, weights, epochs=epochs, batch_size=len(x), callbacks=callbacks, steps=steps
                    )
                    histories.append(history)
        self.history_ = histories[0]
        self.n_iter_ = sum(int(history.last["step"]) for history in histories)
        for row in [row for history in histories[1:] for row in history.rows]:
            self.history_.rows.append({**row, "epoch": n_epochs + 1, "step": self.n_iter_})
        if not convergence_test.has_converged:
            warnings.warn(
                f"{type(self).__name__} did not converge in {plural(self.n_iter_, 'step')}; raise max_iter, or "
                "scale the data",
                ConvergenceWarning,
                stacklevel=2,
            )
        params = model["dense1"].params
        if "bias" in params:
            params["bias"] -= params["weight"] @ torch.tensor(centre)
        self.model_ = model
        self.coef_, self.intercept_ = coefficients(model)
        return self

    def _is_probabilistic(self) -> bool:
        return True

    def _n_outputs(self) -> int:
        raise NotImplementedError

    def _penalty_strength(self) -> float:
        if not self.C > 0:
            raise ValueError(f"C must be above 0, not {self.C!r}")
        return 1 / self.C


class LogisticRegression(_LinearClassifier):
    """Logistic regression, a network of one layer with sigmoid outputs.

    Unlike scikit-learn's class, it separates each of three or more classes from the rest, like OneVsRestClassifier;
    SoftmaxRegression is the multinomial model. The cost is ‖w‖²/2 + C Σ cross-entropy; C: the inverse strength of the
    penalty, math.inf for none. Training stops when no parameter has changed by more than `tol` times the largest
    absolute parameter within 50 steps, or after `max_iter` steps with a ConvergenceWarning. If `max_iter` is not a
    multiple of 50, the last steps start with zero momentum.
    Source: Cox 1958, The regression analysis of binary sequences.
    """

    loss: ClassVar[str] = "binary_cross_entropy"
    max_second_derivative: ClassVar[float] = 0.25

    def _n_outputs(self) -> int:
        return 1 if len(self.classes_) == 2 else len(self.classes_)


class SoftmaxRegression(_LinearClassifier):
    """Multinomial logistic regression, a network of one layer with a softmax over the classes.

    The cost is ‖w‖²/2 + C Σ cross-entropy, as in scikit-learn's LogisticRegression for three or more classes;
    two classes also have one output each. The arguments are those of LogisticRegression.
    Source: Bishop 2006, Pattern recognition and machine learning, section 4.3.4.
    """

    loss: ClassVar[str] = "softmax_cross_entropy"
    max_second_derivative: ClassVar[float] = 0.5

    def _n_outputs(self) -> int:
        return len(self.classes_)


class ConvergenceTest(Callback):
    """Stop after an epoch in which no parameter changes by more than `tol` times the largest absolute parameter."""

    def __init__(self, tol: float) -> None:
        self.tol, self.has_converged = tol, False
        self._previous_params: dict[str, torch.Tensor] = {}

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Compare the parameters with those after the previous epoch."""
        params = {path: tensor.clone() for path, tensor in flatten(training.model.params).items()}
        if self._previous_params:
            change = max(float((params[path] - self._previous_params[path]).abs().max()) for path in params)
            self.has_converged = change <= self.tol * max(float(tensor.abs().max()) for tensor in params.values())
        self._previous_params = params
        if self.has_converged:
            training.stop = "the parameters no longer move"


@dataclass(frozen=True)
class PerceptronLoss(Loss):
    """The perceptron criterion C = 1/n Σ max(0, -t y), with t = 1 for the class of an output and -1 for all others.

    y is (N, 1) or (N, C), targets are classes (N,). The gradient is -t/n where t y <= 0, so an output of 0 counts as
    a mistake. Source: Bishop 2006, Pattern recognition and machine learning, equation 4.54.
    """

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        sign = 2 * target_values(self, y, target) - 1  # (N, C)
        margin = sign * y
        return -margin.clamp_max(0).sum() / len(y), torch.where(margin <= 0, -sign, 0.0) / len(y)


class Perceptron(CoefficientPlot, NetworkClassification):
    """Rosenblatt's perceptron, a network of one layer that learns from its mistakes, one example at a time.

    Unlike scikit-learn's class, it stops after the first epoch that ends without a mistake, or after `max_iter` epochs,
    and has no penalty. w starts at 0, and each mistake adds learning_rate t x to it. Each of three or more classes is
    separated from the rest. random_state: determines the order of the examples.
    Source: Rosenblatt 1958, The perceptron: a probabilistic model for information storage.
    """

    _has_margins: ClassVar[bool] = True

    def __init__(
        self,
        *,
        learning_rate: float = 1.0,
        max_iter: int = 100,
        fit_intercept: bool = True,
        random_state: Any = None,
    ) -> None:
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.fit_intercept = fit_intercept
        self.random_state = random_state

    @raising_value_errors()
    def fit(self, X: Any, y: Any) -> Self:
        """Fit to X (n, n_features) and classes y (n,)."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        self.classes_, labels = checked_classes(y, None)
        n_outputs = 1 if len(self.classes_) == 2 else len(self.classes_)
        class_names = [str(name) for name in self.classes_]
        model = one_layer(
            X.shape[1], n_outputs, self.fit_intercept, PerceptronLoss(), SGD(self.learning_rate), classes=class_names,
            seed=seed_of(self.random_state),
        )  # fmt: skip
        x = as_tensor(X, "X")
        target = as_tensor(labels, "y")
        stopping = StopWhenSeparated(model, x, target)
        self.history_ = train(model, x, target, None, epochs=self.max_iter, batch_size=1, callbacks=[stopping])
        self.n_iter_ = len(self.history_)
        self.model_ = model
        self.coef_, self.intercept_ = coefficients(model)
        return self


class StopWhenSeparated(Callback):
    """Stop after the first epoch at whose end no example is misclassified."""

    def __init__(self, model: Model, x: Tensor, target: Tensor) -> None:
        self._model, self._x, self._target = model, x, target

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Stop if no example is misclassified."""
        _, dy = PerceptronLoss()(self._model(self._x), self._target)
        if not bool(dy.any()):
            training.stop = "no example is on the wrong side"
