"""Base classes of estimators, and shared functions: checks of classes and sample weights, training, errors."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.tensors import as_tensor
from pellucid.combine import Sequential
from pellucid.data.source import Arrays
from pellucid.estimators.plotting import BoundaryPlot
from pellucid.estimators.weighted import WeightedLoss, weighted_penalty, with_weights
from pellucid.layers import Dense
from pellucid.losses import BinaryCrossEntropy, Loss
from pellucid.model import Model
from pellucid.network.inputs import check_inputs
from pellucid.objective import Supervised
from pellucid.optim import Optimizer
from pellucid.run.history import History
from pellucid.training.callbacks import Callback
from pellucid.training.evaluate import batch_within_memory
from pellucid.training.measures import boundary
from pellucid.training.process import torch_threads

Array = NDArray[Any]
# Number of multiply-adds in a batch's forward pass up to which training uses one thread. More threads are not faster
# then, and if other processes run, they wait for each other: up to 70 times the CPU time (docs/decisions.md).
MAX_ONE_THREAD_WORK = 5_000_000


@contextmanager
def value_errors() -> Iterator[None]:
    """Turn PellucidError into ValueError, which scikit-learn's estimators raise."""
    try:
        yield
    except PellucidError as error:
        raise ValueError(str(error)) from error


class NetworkEstimator(BaseEstimator):
    """An estimator whose fitted network is `model_`, a pellucid.Model, with `explain`, `trace`, `verify` and `doctor`.

    history_: the training history, which exists only after training by gradient descent.
    """

    model_: Model
    history_: History
    # Arguments of scikit-learn's `validate_data`:
    _data_requirements: ClassVar[Mapping[str, Any]] = {"dtype": np.float64}

    @value_errors()
    def _network_outputs(self, X: Any) -> Array:
        """Return the predictions of the network's loss, such as probabilities, (n, outputs)."""
        check_is_fitted(self, "model_")
        return self.model_.predict(self._inputs(X)).numpy()

    @value_errors()
    def _scores(self, X: Any) -> Array:
        """Return the network's outputs unchanged, (n, outputs), computed in batches that fit into memory."""
        check_is_fitted(self, "model_")
        x, model = self._inputs(X), self.model_
        check_inputs(x.shape, model.input_shape, "X")
        batches = x.split(batch_within_memory(model, x))
        return torch.cat([model(batch).cpu() for batch in batches]).numpy()

    def _inputs(self, X: Any) -> Tensor:
        """Return inputs for a fitted estimator, checked, as a tensor."""
        return as_tensor(validate_data(self, X, reset=False, **self._data_requirements), "X")


class NetworkClassification(BoundaryPlot, ClassifierMixin, NetworkEstimator):
    """A classifier whose network has one output for each class, or one output for the second of two classes."""

    classes_: Array
    _has_margins: ClassVar[bool] = False  # whether the threshold of a single output is 0 for every loss

    def decision_function(self, X: Any) -> Array:
        """Return the scores, (n, n_classes); for two classes one score, above 0 for the second class, (n,)."""
        scores = self._scores(X)
        if len(self.classes_) > 2:
            return scores
        return self._margin(scores)[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]

    def predict(self, X: Any) -> Array:
        """Return the predicted class of each example, (n,)."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)]

    def _margin(self, scores: Array) -> Array:
        """Return single outputs minus the threshold between the two classes, (n, 1)."""
        loss = self.model_.loss
        if self._has_margins or isinstance(loss, BinaryCrossEntropy):
            return scores  # the threshold of logits is 0; sigmoid minus 1/2 would round large ones
        return loss.predict(torch.from_numpy(scores)).numpy() - boundary(self.model_.net, loss)


def _has_probabilities(estimator: Any) -> bool:
    """Return whether `predict_proba` exists; raise AttributeError, with the name of the loss, if it does not."""
    if not estimator._is_probabilistic():
        raise AttributeError(f"the outputs of loss {estimator.loss!r} are not probabilities; use decision_function")
    return True


class ProbabilisticClassification(NetworkClassification):
    """A classifier whose network outputs probabilities."""

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, (n, n_classes); one-versus-rest probabilities are normalized.

        Raises AttributeError if neither the loss nor the network's last layer converts outputs to probabilities.
        """
        probabilities = self._network_outputs(X)
        if probabilities.shape[1] == 1:
            return np.hstack([1 - probabilities, probabilities])
        total = probabilities.sum(1, keepdims=True)
        uniform = np.full_like(probabilities, 1 / probabilities.shape[1])
        return np.divide(probabilities, total, out=uniform, where=total > 0)

    def _is_probabilistic(self) -> bool:
        """Return whether the predictions of the loss are probabilities."""
        raise NotImplementedError


def one_layer(
    n_features: int, outputs: int, bias: bool, loss: str | Loss, optimizer: Optimizer, **settings: Any
) -> Model:
    """Return a network of one dense layer in float64, with all weights 0; settings: additional arguments of Model."""
    net = Sequential(Dense(outputs, bias=bias, init_weight="zeros"))
    return Model(net, loss, optimizer, metrics=(), input_shape=(n_features,), precision="float64", **settings)


def coefficients(model: Model) -> tuple[Array, Array]:
    """Return the weights (outputs, n_features) and the biases (outputs,) of a network of one dense layer."""
    params = model["dense1"].params
    weight = params["weight"].numpy().copy()
    return weight, params["bias"].numpy().copy() if "bias" in params else np.zeros(len(weight))


def checked_weights(sample_weight: Any, X: Array) -> Array | None:
    """Return the weights of the examples, (n,) float64; raise ValueError if one is negative or all are 0."""
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def checked_classes(y: Array, weights: Array | None) -> tuple[Array, Array]:
    """Return the sorted classes and the index of each example's class; raise ValueError for fewer than two classes."""
    check_classification_targets(y)
    classes, labels = np.unique(y, return_inverse=True)
    present_labels = labels if weights is None else labels[weights > 0]
    if len(np.unique(present_labels)) < 2:
        raise ValueError(
            f"This solver needs samples of at least 2 classes in the data, but the data contains only one class: "
            f"{classes[present_labels[0]]!r}"
        )
    return classes, labels


def seed_of(random_state: Any) -> int:
    """Return a seed drawn from scikit-learn's `random_state`."""
    from sklearn.utils import check_random_state

    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def train(
    model: Model,
    x: Tensor,
    y: Tensor,
    weights: Array | None,
    *,
    epochs: int,
    batch_size: int,
    callbacks: Sequence[Callback] = (),
    validation: float | None = None,
    steps: int | None = None,
) -> History:
    """Train a model by `Model.fit` on the weighted mean of its loss, and return the history.

    steps: if given, an epoch is this number of steps, each on all examples, and `batch_size` is unused.
    A regularizer's cost term is divided by the sum of the weights, or by the number of examples if weights is None.
    A small network is trained on one CPU thread, see MAX_ONE_THREAD_WORK.
    Raises the errors of `Model.fit`, and PellucidError for weights with a loss that has class_weights.
    """
    loss, metrics, penalties = model.loss, model.metrics, model.regularizers
    try:
        if weights is not None:
            model.objective, model.metrics = Supervised(model.net, WeightedLoss(loss, not y.is_floating_point())), ()
            model.regularizers = tuple(weighted_penalty(penalty, float(weights.mean())) for penalty in penalties)
            y = with_weights(y, torch.from_numpy(weights / weights.mean()))
        fit = partial(model.fit, epochs=epochs, callbacks=callbacks, verbose=False)
        batch_size = len(x) if steps is not None else min(batch_size, len(x))
        with torch_threads(_n_threads(model, batch_size)):
            if steps is not None:
                return fit(lambda: repeat((x, y), steps), steps_per_epoch=steps)
            return fit(Arrays(x, y, model.classes), batch_size=batch_size, validation=validation)
    finally:
        model.objective, model.metrics, model.regularizers = Supervised(model.net, loss), metrics, penalties


def _n_threads(model: Model, batch_size: int) -> int:
    """Return the number of CPU threads for training, 0 for PyTorch's default."""
    if model.device.type != "cpu":
        return 0
    return 1 if batch_size * model.summary().multiply_adds <= MAX_ONE_THREAD_WORK else 0
