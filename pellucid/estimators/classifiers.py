"""Base classes of classifiers with a network: classes, scores and probabilities."""

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if

from pellucid.estimators.base import Array, NetworkEstimator
from pellucid.estimators.plotting import BoundaryPlot


class NetworkClassification(BoundaryPlot, ClassifierMixin, NetworkEstimator):
    """A classifier whose network has one output for each class, or one output for the second of two classes."""

    classes_: Array

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
        return scores


def _gives_probabilities(estimator: Any) -> bool:
    """Return whether `predict_proba` exists; raise AttributeError, with the name of the loss, if it does not."""
    if not estimator._probabilities():
        raise AttributeError(f"the outputs of loss {estimator.loss!r} are not probabilities; use decision_function")
    return True


class ProbabilisticClassification(NetworkClassification):
    """A classifier whose network outputs probabilities."""

    @available_if(_gives_probabilities)
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

    def _probabilities(self) -> bool:
        """Return whether the predictions of the loss are probabilities."""
        return True
