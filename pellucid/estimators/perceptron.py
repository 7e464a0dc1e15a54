"""The perceptron as a network of one layer."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import validate_data
from torch import Tensor

from pellucid.base.settings.tensors import as_tensor
from pellucid.estimators.base import (
    NetworkClassification,
    checked_classes,
    coefficients,
    one_layer,
    seed_of,
    train,
    value_errors,
)
from pellucid.estimators.plotting import CoefficientPlot
from pellucid.losses import Loss
from pellucid.losses.targets import target_values
from pellucid.model import Model
from pellucid.optim import SGD
from pellucid.run.history import Row
from pellucid.training.callbacks import Callback, Training


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

    @value_errors()
    def fit(self, X: Any, y: Any) -> Self:
        """Fit to X (n, n_features) and classes y (n,)."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        self.classes_, labels = checked_classes(y, None)
        outputs = 1 if len(self.classes_) == 2 else len(self.classes_)
        class_names = [str(name) for name in self.classes_]
        model = one_layer(
            X.shape[1], outputs, self.fit_intercept, PerceptronLoss(), SGD(self.learning_rate), classes=class_names,
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
