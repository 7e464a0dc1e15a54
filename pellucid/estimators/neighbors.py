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
CACHE_BYTES = 1 << 20  # of the differences between a query and some points
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
        distances, indices = nearest(_tensor(self._points), _tensor(queries), int(count), self.metric)
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

    A block of distances is computed in float32; points that its rounding may have put on the wrong side of the last
    neighbour are compared again in float64, so that the result is exact to float64. points: (n, d); queries: (m, d).
    """
    order = 1 if metric == "l1" else 2
    centre = points[:CHUNK].double().mean(0).to(torch.float32)  # near the points: small numbers have small errors
    base = torch.empty(points.shape, dtype=torch.float32)
    for to, part in zip(base.split(CHUNK), points.split(CHUNK), strict=True):
        to.copy_(_centred(part, centre))
    sizes = torch.linalg.vector_norm(base, ord=order, dim=1)  # (n,)
    parts: list[tuple[Tensor, Tensor]] = []
    for block in queries.split(max(1, BLOCK_BYTES // (4 * len(points)))):
        x = _centred(block, centre)  # (m, d)
        rough = _l1(x, base) if metric == "l1" else _squares(x, base, sizes)  # (m, n)
        reach = (sizes.max() + torch.linalg.vector_norm(x, ord=order, dim=1, keepdim=True)) ** order  # (m, 1)
        # The error of a sum of d products (Higham 2002, equation 3.5), and of the inputs in float32.
        error = (base.shape[1] + 16) * torch.finfo(torch.float32).eps * reach
        last = rough.topk(count, dim=1, largest=False).values[:, -1:]
        parts.append(_exact(points, block, rough <= last + 2 * error, count, order))
    return torch.cat([distances for distances, _ in parts]), torch.cat([indices for _, indices in parts])


def _exact(points: Tensor, queries: Tensor, possible: Tensor, count: int, order: int) -> tuple[Tensor, Tensor]:
    """Return the distances and the indices of the nearest among the `possible` points (m, n), computed in float64."""
    row, column = possible.nonzero(as_tuple=True)
    pairs = max(1, PAIR_BYTES // (8 * points.shape[1]))
    distances = torch.cat(
        [
            torch.linalg.vector_norm(queries[r].double() - points[c].double(), ord=order, dim=1)
            for r, c in zip(row.split(pairs), column.split(pairs), strict=True)
        ]
    )
    ascending = distances.argsort(stable=True)
    ascending = ascending[row[ascending].argsort(stable=True)]  # by query, then by distance, then by index
    starts = torch.bincount(row, minlength=len(queries)).cumsum(0).roll(1)
    starts[0] = 0
    chosen = ascending[starts[:, None] + torch.arange(count)]  # (m, count)
    return distances[chosen], column[chosen]


def _squares(queries: Tensor, base: Tensor, sizes: Tensor) -> Tensor:
    """Return squared L2 distances (m, n): ‖x‖² + ‖y‖² - 2 x·y."""
    own = queries.square().sum(1, keepdim=True)
    return torch.addmm(sizes.square(), queries, base.T, alpha=-2).add_(own)


def _l1(queries: Tensor, base: Tensor) -> Tensor:
    """Return L1 distances (m, n), by parts of the points that stay in the cache: twice as fast as torch.cdist."""
    found = torch.empty(len(queries), len(base))
    rows = max(1, CACHE_BYTES // (4 * base.shape[1]))
    difference = torch.empty(rows, base.shape[1])
    for part, columns in zip(base.split(rows), found.split(rows, dim=1), strict=True):
        buffer = difference[: len(part)]
        for query, to in zip(queries, columns, strict=True):
            torch.sub(part, query, out=buffer)
            torch.sum(buffer.abs_(), 1, out=to)
    return found


def _centred(x: Tensor, centre: Tensor) -> Tensor:
    """Return x - centre in float32, rounded once."""
    exact = x.dtype in (torch.float32, torch.float16, torch.uint8)  # every value is one of float32
    return x.to(torch.float32) - centre if exact else (x.double() - centre.double()).to(torch.float32)


def _tensor(array: Any) -> Tensor:
    """Return an array as a tensor, without a copy where PyTorch takes its memory."""
    return torch.from_numpy(np.require(array, requirements=("C", "W")))
