"""What classifiers with a network share: classes, scores and probabilities."""

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin

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
        return scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]

    def predict(self, X: Any) -> Array:
        """Return the class of the highest score, (n,)."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)]


class ProbabilisticClassification(NetworkClassification):
    """A classifier whose network outputs probabilities."""

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, (n, n_classes); those of one class against the rest are normalized."""
        found = self._network_outputs(X)
        if found.shape[1] == 1:
            return np.hstack([1 - found, found])
        return found / np.maximum(found.sum(1, keepdims=True), np.finfo(found.dtype).tiny)
