"""Estimators that train any network: a classifier and a regressor."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from pellucid.base.settings.tensors import as_tensor
from pellucid.combine import Sequential
from pellucid.data.seeds import mix
from pellucid.estimators.base import (
    Array,
    NetworkEstimator,
    ProbabilisticClassification,
    checked_classes,
    checked_weights,
    raising_value_errors,
    seed_of,
    train,
)
from pellucid.layers import Dense, Flatten, ReLU
from pellucid.layers.base import Layer
from pellucid.losses import LOSSES, Loss
from pellucid.model import Model
from pellucid.optim import MaxNorm, Optimizer, Regularizer
from pellucid.training.callbacks import EarlyStopping
from pellucid.training.measures import ends_in_probabilities, predicts_probabilities

Builder = Callable[[int, int], Layer]
FLOAT_DTYPES = (np.float64, np.float32)  # X of another dtype is converted to float64
N_HIDDEN = 100  # number of units in the hidden layer of the default network


class _Network(NetworkEstimator):
    """Base class of both estimators: arguments and training. X may have more than two axes, such as (n, C, H, W)."""

    _data_requirements: ClassVar[Mapping[str, Any]] = {"dtype": FLOAT_DTYPES, "allow_nd": True}

    def __init__(
        self,
        network: Layer | Builder | None = None,
        *,
        loss: str | Loss = "quadratic",
        optimizer: str | Optimizer = "adam",
        regularizer: Regularizer | MaxNorm | None = None,
        epochs: int = 50,
        batch_size: int = 200,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        device: str = "cpu",
        random_state: Any = None,
    ) -> None:
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        self.regularizer = regularizer
        self.epochs = epochs
        self.batch_size = batch_size
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state

    def _build_model(self, X: Array, n_outputs: int, classes: list[str] | None) -> Model:
        """Return the model with newly drawn weights for inputs X (n, ...), in the precision of X."""
        net = default_network if self.network is None else self.network
        if not isinstance(net, Layer):
            if not callable(net):
                raise TypeError(f"network must be a layer or a function (n_features, n_outputs) -> layer, not {net!r}")
            net = net(X.shape[1], n_outputs)
        with raising_value_errors():
            model = Model(
                net,
                self.loss,
                self.optimizer,
                input_shape=X.shape[1:],
                precision=str(X.dtype),
                regularizer=self.regularizer,
                seed=seed_of(self.random_state),
                device=self.device,
            )
        allowed_shapes = {(n_outputs,), (1,)} if n_outputs == 2 else {(n_outputs,)}
        if model.output_shape not in allowed_shapes:
            raise ValueError(f"the network outputs {model.output_shape} for each example, but y needs ({n_outputs},)")
        model.classes = None if classes is None else tuple(classes)
        return model

    def _model_with_new_seed(self) -> Model:
        """Return the fitted model with a new seed, so each call draws a new order and new dropout masks."""
        self.model_.seed = mix(self.model_.seed, 1) >> 1  # seeds are below 2^63
        return self.model_

    @raising_value_errors()
    def _train(self, model: Model, X: Array, y: Array, weights: Array | None, epochs: int, hold_out: bool) -> None:
        """Train, with early stopping on held-out data if `hold_out`, and store the model and its history."""
        callbacks = [EarlyStopping(self.patience)] if hold_out and self.patience is not None else []
        self.history_ = train(
            model,
            as_tensor(X, "X").to(model.dtype),
            as_tensor(y, "y"),
            weights,
            epochs=epochs,
            batch_size=self.batch_size,
            callbacks=callbacks,
            validation=float(self.validation_fraction) if callbacks else None,
        )
        self.model_ = model

    def _check_data(self, X: Any, y: Any, is_first: bool = True) -> tuple[Array, Array]:
        """Return checked X (n, ...), float32 or float64, and y (n,)."""
        is_numeric = isinstance(self, RegressorMixin)
        X, y = validate_data(self, X, y, reset=is_first, y_numeric=is_numeric, **self._data_requirements)
        return X, y


class NetworkClassifier(ProbabilisticClassification, _Network):
    """A classifier that trains any network.

    network: a layer that outputs one score for each class, or a single score for two classes; or a function
    (n_features, n_classes) that returns such a layer; by default one hidden layer of 100 ReLUs. X is (n, n_features),
    or of any other shape that the network accepts, such as (n, C, H, W), and is not scaled. As in scikit-learn, float32
    X trains in float32, which is faster, and X of any other dtype in float64. loss, optimizer, regularizer, device: as
    for pellucid.Model. patience: the number of epochs without a better validation accuracy (with sample weights: loss)
    after which training stops and restores the best weights; `validation_fraction` of the data is then held out. By
    default there is no early stopping. random_state: determines initial weights, order and validation examples. With a
    single output, the second class is predicted above a threshold of 0, or of 1/2 for losses such as "quadratic".
    `predict_proba` exists for losses that predict probabilities, and for networks that end in a sigmoid or a softmax.
    Raises ValueError if the network, the data and the loss are incompatible, and if training diverges.
    """

    def __init__(
        self,
        network: Layer | Builder | None = None,
        *,
        loss: str | Loss = "softmax_cross_entropy",
        optimizer: str | Optimizer = "adam",
        regularizer: Regularizer | MaxNorm | None = None,
        epochs: int = 50,
        batch_size: int = 200,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        device: str = "cpu",
        random_state: Any = None,
    ) -> None:
        super().__init__(
            network,
            loss=loss,
            optimizer=optimizer,
            regularizer=regularizer,
            epochs=epochs,
            batch_size=batch_size,
            patience=patience,
            validation_fraction=validation_fraction,
            device=device,
            random_state=random_state,
        )

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit newly drawn weights to X (n, ...) and classes y (n,), with sample weights (n,)."""
        X, y = self._check_data(X, y)
        weights = checked_weights(sample_weight, X)
        self.classes_, labels = checked_classes(y, weights)
        self._train(self._new_model(X), X, labels, weights, self.epochs, hold_out=True)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train for one epoch on X (n, ...) and y (n,), from the current weights and without early stopping.

        classes: all classes that will occur, required in the first call. The optimizer's state is reset in each call.
        """
        is_first = not hasattr(self, "model_")
        X, y = self._check_data(X, y, is_first)
        check_classification_targets(y)
        weights = checked_weights(sample_weight, X)
        if is_first:
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self.classes_ = np.unique(classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit, {self.classes_!r}")
        labels = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        if not np.array_equal(self.classes_[labels], y):
            raise ValueError(f"y contains classes other than {self.classes_!r}; give all classes in the first call")
        model = self._new_model(X) if is_first else self._model_with_new_seed()
        self._train(model, X, labels, weights, 1, hold_out=False)
        return self

    def _is_probabilistic(self) -> bool:
        if hasattr(self, "model_"):
            return predicts_probabilities(self.model_.net, self.model_.loss)
        loss = LOSSES.get(self.loss, Loss) if isinstance(self.loss, str) else type(self.loss)
        net = self.network if isinstance(self.network, Layer) else default_network(1, 1)
        return loss.predict is not Loss.predict or ends_in_probabilities(net)

    def _new_model(self, X: Array) -> Model:
        names = [str(name) for name in self.classes_]
        return self._build_model(X, len(names), names)


class NetworkRegressor(RegressorMixin, _Network):
    """A regressor that trains any network.

    network: a layer with one output, or a function (n_features, 1) that returns such a layer; by default one hidden
    layer of 100 ReLUs. The other parameters are as in NetworkClassifier; early stopping uses the validation loss.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit newly drawn weights to X (n, ...) and targets y (n,), with sample weights (n,)."""
        X, y = self._check_data(X, y)
        weights = checked_weights(sample_weight, X)
        self._train(self._build_model(X, 1, None), X, y.astype(np.float64), weights, self.epochs, hold_out=True)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch on X (n, ...) and y (n,), from the current weights and without early stopping.

        The optimizer's state is reset in each call.
        """
        is_first = not hasattr(self, "model_")
        X, y = self._check_data(X, y, is_first)
        weights = checked_weights(sample_weight, X)
        model = self._build_model(X, 1, None) if is_first else self._model_with_new_seed()
        self._train(model, X, y.astype(np.float64), weights, 1, hold_out=False)
        return self

    def predict(self, X: Any) -> Array:
        """Return the network's output, (n,)."""
        return self._network_outputs(X)[:, 0]


def default_network(n_features: int, n_outputs: int) -> Layer:
    """Return a network of one hidden layer of ReLUs, for inputs of any shape."""
    return Sequential(Flatten(), Dense(N_HIDDEN), ReLU(), Dense(n_outputs))
