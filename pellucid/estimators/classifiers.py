"""What classifiers with a network share: classes, scores and probabilities."""

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
        """Return the outputs before any probability, (n, n_classes); of two classes their difference, (n,)."""
        scores = self._scores(X)
        if len(self.classes_) > 2:
            return scores
        return self._margin(scores)[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]

    def predict(self, X: Any) -> Array:
        """Return the class of the highest score, (n,)."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)]

    def _margin(self, scores: Array) -> Array:
        """Return single outputs less the one between the two classes, (n, 1)."""
        return scores


def _gives_probabilities(estimator: Any) -> bool:
    """Return whether `predict_proba` exists; AttributeError, which names the loss, where it does not."""
    if not estimator._probabilities():
        raise AttributeError(f"the outputs of loss {estimator.loss!r} are not probabilities; use decision_function")
    return True


class ProbabilisticClassification(NetworkClassification):
    """A classifier whose network outputs probabilities."""

    @available_if(_gives_probabilities)
    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, (n, n_classes); those of one class against the rest are normalized.

        Raises AttributeError where the loss and the network's last layer do not make outputs probabilities.
        """
        found = self._network_outputs(X)
        if found.shape[1] == 1:
            return np.hstack([1 - found, found])
        total = found.sum(1, keepdims=True)
        return np.divide(found, total, out=np.full_like(found, 1 / found.shape[1]), where=total > 0)

    def _probabilities(self) -> bool:
        """Return whether outputs, as the loss reads them, are probabilities."""
        return True
