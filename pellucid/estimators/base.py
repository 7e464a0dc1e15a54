"""Base classes of estimators, and shared functions: checks of classes and sample weights, training, errors.

The weights of examples are a column of the targets, from which a weighted mean of the loss is computed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.tensors import as_tensor
from pellucid.combine import Sequential
from pellucid.data.source import Arrays
from pellucid.estimators.plotting import BoundaryPlot
from pellucid.layers import Dense
from pellucid.losses import BinaryCrossEntropy, Loss, Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.network.inputs import check_inputs
from pellucid.objective import Supervised
from pellucid.optim import MaxNorm, Optimizer, Regularizer, foreach
from pellucid.run.history import History
from pellucid.training.callbacks import Callback
from pellucid.training.evaluate import batch_within_memory
from pellucid.training.measures import boundary
from pellucid.training.process import torch_threads


# a column of the targets, so that batches, sources, losses and metrics, also those of users, need no weights
def with_weights(target: Tensor, weights: Tensor) -> Tensor:
    """Return targets (n,) or (n, k), classes or numbers, and weights (n,) as one tensor (n, k + 1) of float64."""
    return torch.cat([target.reshape(len(target), -1).double(), weights.double()[:, None]], 1)


@dataclass(frozen=True)
class WeightedLoss(Loss):
    """C = 1/n Σ w_i C_i for a loss whose value for a batch is the mean of its values C_i for the examples.

    Targets are made by `with_weights`; has_class_targets: whether they are class indices, not numbers. With weights
    whose mean over the data is 1, the mean over all batches is Σ w_i C_i / Σ w_i. The gradient of the loss is
    multiplied by w_i in the rows of example i.
    Raises PellucidError for a loss with class_weights, whose mean is already weighted.
    """

    loss: Loss
    has_class_targets: bool = True

    def __post_init__(self) -> None:
        """Raise PellucidError for a loss with class_weights."""
        class_weights = getattr(self.loss, "class_weights", None)
        if class_weights is not None:
            raise PellucidError(
                f"{type(self.loss).__name__} has class_weights; leave them out, and multiply the sample weights by "
                "the class weights"
            )

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        target, weights = self._targets_and_weights(target)
        weights = weights.to(y.dtype)
        _, dy = self.loss(y, target)
        value = (example_losses(self.loss, y, target) * weights).sum() / len(y)
        return value, dy * weights.reshape(-1, *(1,) * (y.dim() - 1))

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Raise PellucidError if the targets are invalid for the loss."""
        self.loss.check(outputs, self._targets_and_weights(targets)[0])

    def predict(self, y: Tensor) -> Tensor:
        """Return the loss's predictions."""
        return self.loss.predict(y)

    def _targets_and_weights(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the targets of the loss, and the weights."""
        values, weights = target[:, :-1], target[:, -1]
        values = values[:, 0] if values.shape[1] == 1 else values
        return (values.long() if self.has_class_targets else values), weights


@dataclass(frozen=True)
class WeightedPenalty(Regularizer):
    """A regularizer whose cost term is divided by the sum of the examples' weights, n times their mean."""

    penalty: Regularizer
    mean_weight: float

    def cost(self, weights: list[Tensor], n: int) -> Tensor:
        """Return the cost term."""
        return self.penalty.cost(weights, n) / self.mean_weight

    def add_gradient(self, weights: list[Tensor], grads: list[Tensor], n: int) -> None:
        """Add the cost term's gradient to `grads`, in place."""
        unscaled_grads = [torch.zeros_like(grad) for grad in grads]
        self.penalty.add_gradient(weights, unscaled_grads, n)
        foreach.add_(grads, unscaled_grads, alpha=1 / self.mean_weight)

    def shrink(self, weights: list[Tensor], lr: float) -> None:
        """Do nothing: only penalties with a cost term are weighted, not decoupled ones."""


def weighted_penalty(regularizer: Regularizer | MaxNorm, mean_weight: float) -> Regularizer | MaxNorm:
    """Return a regularizer whose cost term, if any, is divided by the mean weight of the examples."""
    if isinstance(regularizer, MaxNorm) or regularizer.decoupled:
        return regularizer
    return WeightedPenalty(regularizer, mean_weight)


def example_losses(loss: Loss, y: Tensor, target: Tensor) -> Tensor:
    """Return the loss of each example, (n,): in one call for common losses, otherwise in one call per example."""
    if loss == Quadratic():
        return (y - target.reshape(y.shape)).square().flatten(1).sum(1) / 2
    if loss == SoftmaxCrossEntropy() and y.dim() == 2:
        return F.cross_entropy(y, target, reduction="none")
    if loss == BinaryCrossEntropy() and y.dim() == 2 and target.dim() == 1:
        one_hot = target[:, None] if y.shape[1] == 1 else F.one_hot(target, y.shape[1])
        return F.binary_cross_entropy_with_logits(y, one_hot.to(y.dtype), reduction="none").sum(1)
    return torch.stack([loss(y[k : k + 1], target[k : k + 1])[0] for k in range(len(y))])


Array = NDArray[Any]
# Number of multiply-adds in a batch's forward pass up to which training uses one thread. More threads are not faster
# then, and if other processes run, they wait for each other: up to 70 times the CPU time (docs/decisions.md).
MAX_ONE_THREAD_WORK = 5_000_000


@contextmanager
def raising_value_errors() -> Iterator[None]:
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

    @raising_value_errors()
    def _network_outputs(self, X: Any) -> Array:
        """Return the predictions of the network's loss, such as probabilities, (n, outputs)."""
        check_is_fitted(self, "model_")
        return self.model_.predict(self._inputs(X)).numpy()

    @raising_value_errors()
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
    n_features: int, n_outputs: int, bias: bool, loss: str | Loss, optimizer: Optimizer, **settings: Any
) -> Model:
    """Return a network of one dense layer in float64, with all weights 0; settings: additional arguments of Model."""
    net = Sequential(Dense(n_outputs, bias=bias, init_weight="zeros"))
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
