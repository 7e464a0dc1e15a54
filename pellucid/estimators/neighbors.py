"""Exact nearest neighbours on tensors."""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from pellucid.estimators.plotting import BoundaryPlot

METRICS = ("l1", "l2")
BLOCK_BYTES = 64 << 20  # of the distances between a block of queries and all training points
CHUNK = 4096  # points converted at a time
PAIR_BYTES = 16 << 20  # of the differences whose distances are computed in float64 at a time


class KNeighborsClassifier(BoundaryPlot, ClassifierMixin, BaseEstimator):
    """Classification by the majority of the nearest training points.

    Unlike scikit-learn's, it always compares a query with every training point, on tensors in blocks, and equal
    distances and votes go to the first point and the first class. X is (n, n_features), y is (n,).
    n_neighbors: the number of votes. metric: "l2", Euclidean, or "l1", the sum of absolute differences.
    Raises ValueError for an unknown metric and for more neighbours than training points.
    Source: Cover and Hart 1967, Nearest neighbor pattern classification.
    """

    def __init__(self, n_neighbors: int = 5, *, metric: str = "l2") -> None:
        self.n_neighbors = n_neighbors
        self.metric = metric

    def fit(self, X: Any, y: Any) -> Self:
        """Store the training points (n, n_features) and their classes (n,)."""
        if self.metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, not {self.metric!r}")
        if isinstance(self.n_neighbors, bool) or not isinstance(self.n_neighbors, int | np.integer):
            raise TypeError(f"n_neighbors must be a whole number, not {self.n_neighbors!r}")
        if self.n_neighbors < 1:
            raise ValueError(f"n_neighbors must be at least 1, not {self.n_neighbors}")
        points, labels = validate_data(self, X, y)
        check_classification_targets(labels)
        self.classes_, self._labels = np.unique(labels, return_inverse=True)
        self._points = points
        return self

    def kneighbors(
        self,
        X: Any,
        n_neighbors: int | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the distances of the nearest training points, ascending, and their indices, (n, n_neighbors) each."""
        check_is_fitted(self)
        queries = validate_data(self, X, reset=False)
        count, points = self.n_neighbors if n_neighbors is None else n_neighbors, len(self._points)
        if count > points:
            raise ValueError(
                f"Expected n_neighbors <= n_samples_fit, but n_neighbors = {count}, n_samples_fit = {points}"
            )
        distances, indices = nearest(torch.tensor(self._points), torch.tensor(queries), int(count), self.metric)
        return distances.numpy(), indices.numpy()

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the share of the votes for each class, (n, n_classes)."""
        _, indices = self.kneighbors(X)
        votes = self._labels[indices]  # (n, n_neighbors)
        return np.stack([(votes == k).mean(1) for k in range(len(self.classes_))], axis=1)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class with the most votes, (n,)."""
        shares = self.predict_proba(X)
        return self.classes_[shares.argmax(1)]


def nearest(points: Tensor, queries: Tensor, count: int, metric: str) -> tuple[Tensor, Tensor]:
    """Return the distances of the `count` nearest points, ascending, and their indices, (queries, count) each.

    A block of distances is computed in float32; points that their rounding may have put on the wrong side of the
    last neighbour are compared again in float64, so that the result is exact to float64. points: (n, d); queries:
    (m, d).
    """
    centre = points[:1].double()  # of no importance but that it is near: small numbers have small rounding errors
    for start in range(0, len(points), CHUNK):
        centre = centre + (points[start : start + CHUNK].double() - points[:1].double()).sum(0) / len(points)
    centre = centre.to(torch.float32)
    base = torch.cat([_centred(part, centre) for part in points.split(CHUNK)])  # (n, d)
    rows = max(1, BLOCK_BYTES // (4 * len(points)))
    parts = [_block(points, base, centre, block, count, metric) for block in queries.split(rows)]
    return torch.cat([distances for distances, _ in parts]), torch.cat([indices for _, indices in parts])


def _block(
    points: Tensor, base: Tensor, centre: Tensor, queries: Tensor, count: int, metric: str
) -> tuple[Tensor, Tensor]:
    rough, error = _rough(base, _centred(queries, centre), metric)
    last = rough.kthvalue(count, dim=1, keepdim=True).values  # (m, 1)
    row, column = (rough <= last + 2 * error).nonzero(as_tuple=True)  # every point that may be among the nearest
    pairs = max(1, PAIR_BYTES // (8 * points.shape[1]))
    distances = torch.cat(
        [
            _exact(queries[r].double() - points[c].double(), metric)
            for r, c in zip(row.split(pairs), column.split(pairs), strict=True)
        ]
    )
    order = distances.argsort(stable=True)
    order = order[row[order].argsort(stable=True)]  # by query, then by distance, then by index
    starts = torch.bincount(row, minlength=len(queries)).cumsum(0).roll(1)
    starts[0] = 0
    chosen = order[starts[:, None] + torch.arange(count)]  # (m, count)
    return distances[chosen], column[chosen]


def _rough(base: Tensor, queries: Tensor, metric: str) -> tuple[Tensor, Tensor]:
    """Return L1 or squared L2 distances (m, n) in float32, and a bound on the error of each query's (m, 1).

    The bound is that of a sum of d products, Higham 2002, equation 3.5, and of rounding the inputs to float32.
    """
    unit = (base.shape[1] + 16) * torch.finfo(torch.float32).eps
    if metric == "l1":
        sizes = base.abs().sum(1).max() + queries.abs().sum(1, keepdim=True)
        return torch.cdist(queries, base, p=1), unit * sizes
    squares = base.square().sum(1)  # (n,)
    own = queries.square().sum(1, keepdim=True)  # (m, 1)
    rough = torch.addmm(squares, queries, base.T, alpha=-2).add_(own)
    return rough, unit * (squares.max().sqrt() + own.sqrt()).square()


def _centred(x: Tensor, centre: Tensor) -> Tensor:
    """Return x - centre in float32, rounded once."""
    exact = x.dtype in (torch.float32, torch.float16, torch.uint8)  # every value is one of float32
    return x.to(torch.float32) - centre if exact else (x.double() - centre.double()).to(torch.float32)


def _exact(difference: Tensor, metric: str) -> Tensor:
    """Return the norms of rows."""
    return torch.linalg.vector_norm(difference, ord=1 if metric == "l1" else 2, dim=1)
