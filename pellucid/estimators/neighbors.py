"""Exact nearest neighbours on tensors."""

import math
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
BLOCK_BYTES = 32 << 20  # memory of the distances between a block of queries and all training points
CACHE_BYTES = 1 << 20  # memory of the differences between a query and a block of points
CHUNK_SIZE = 4096  # number of points converted to float64 at a time
INPUT_DTYPES = (np.float64, np.float32, np.uint8)  # X of another dtype is converted to float64
MAX_EXPONENT = 1000  # data are scaled by at most 2^±1000, so the scale is itself finite and not 0
PAIR_BYTES = 16 << 20  # memory of the differences whose distances are computed in float64 at a time


class KNeighborsClassifier(BoundaryPlot, ClassifierMixin, BaseEstimator):
    """Classification by the majority of the nearest training points.

    Unlike scikit-learn's class, it always compares a query with every training point, in blocks of queries. Ties
    between distances are broken in favour of the first point, ties between votes in favour of the first class.
    X is (n, n_features), y is (n,). n_neighbors: the number of neighbours that vote. metric: "l2", Euclidean, or "l1",
    the sum of absolute differences. Raises ValueError for an unknown metric, and if n_neighbors is below 1 or above the
    number of training points; TypeError if n_neighbors is not an integer.
    Source: Cover and Hart 1967, Nearest neighbor pattern classification.
    """

    def __init__(self, n_neighbors: int = 5, *, metric: str = "l2") -> None:
        self.n_neighbors = n_neighbors
        self.metric = metric

    def fit(self, X: Any, y: Any) -> Self:
        """Store the training points (n, n_features) and their classes (n,)."""
        if self.metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, not {self.metric!r}")
        _check_count(self.n_neighbors)
        points, labels = validate_data(self, X, y, dtype=INPUT_DTYPES)
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
        queries = validate_data(self, X, reset=False, dtype=INPUT_DTYPES)
        count, n_points = self.n_neighbors if n_neighbors is None else n_neighbors, len(self._points)
        _check_count(count)
        if count > n_points:
            raise ValueError(
                f"Expected n_neighbors <= n_samples_fit, but n_neighbors = {count}, n_samples_fit = {n_points}"
            )
        distances, indices = nearest(_to_tensor(self._points), _to_tensor(queries), int(count), self.metric)
        return distances.numpy(), indices.numpy()

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the fraction of the votes for each class, (n, n_classes)."""
        _, indices = self.kneighbors(X)
        votes = self._labels[indices]  # (n, n_neighbors)
        return np.stack([(votes == k).mean(1) for k in range(len(self.classes_))], axis=1)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class with the most votes, (n,)."""
        fractions = self.predict_proba(X)
        return self.classes_[fractions.argmax(1)]


def nearest(points: Tensor, queries: Tensor, n_neighbors: int, metric: str) -> tuple[Tensor, Tensor]:
    """Return the distances of the nearest points, ascending, and their indices, (m, n_neighbors) each.

    Distances are computed in float32 first, in blocks, with a bound on the error of each. The distances of points that
    may be among the neighbours are then computed in float64, which makes the result exact to float64. The data are
    scaled by a power of two, which is exact, to keep squares from overflowing. points: (n, d); queries: (m, d).
    """
    norm_order = 1 if metric == "l1" else 2
    scale = _scale(points, queries)
    centre = (points[:CHUNK_SIZE].double() * scale).median(0).values  # centring reduces rounding errors
    scaled_points = torch.empty(points.shape, dtype=torch.float32)  # the points, scaled and centred
    for rows, chunk in zip(scaled_points.split(CHUNK_SIZE), points.split(CHUNK_SIZE), strict=True):
        rows.copy_(_scale_and_centre(chunk, centre, scale))
    norms = torch.linalg.vector_norm(scaled_points, ord=norm_order, dim=1)  # (n,)
    # Error bounds: of a sum of d products (Higham 2002, equation 3.5), of inputs rounded to float32, and of underflow.
    terms = scaled_points.shape[1] + 16
    eps, tiny = terms * torch.finfo(torch.float32).eps, terms * torch.finfo(torch.float32).tiny
    results: list[tuple[Tensor, Tensor]] = []
    for block in queries.split(max(1, BLOCK_BYTES // (4 * len(points)))):
        x = _scale_and_centre(block, centre, scale)  # (m, d)
        is_l1 = metric == "l1"
        estimates = _l1_distances(x, scaled_points) if is_l1 else _squared_l2_distances(x, scaled_points, norms)
        error = norms + torch.linalg.vector_norm(x, ord=norm_order, dim=1, keepdim=True)  # (m, n)
        error.pow_(norm_order).mul_(eps).add_(tiny)
        estimates.add_(error)
        # An upper bound on the distance of the farthest of the neighbours:
        farthest = estimates.topk(n_neighbors, dim=1, largest=False).values[:, -1:]
        is_candidate = estimates.sub_(error, alpha=2) <= farthest
        del estimates, error
        results.append(_nearest_candidates(points, block, is_candidate, n_neighbors, norm_order, scale))
    return torch.cat([distances for distances, _ in results]) / scale, torch.cat([indices for _, indices in results])


def _nearest_candidates(
    points: Tensor, queries: Tensor, is_candidate: Tensor, n_neighbors: int, norm_order: int, scale: float
) -> tuple[Tensor, Tensor]:
    """Return the scaled distances and the indices of the nearest candidates, (m, n), in float64."""
    query_indices, point_indices = is_candidate.nonzero(as_tuple=True)
    chunk_size = max(1, PAIR_BYTES // (8 * points.shape[1]))
    distances = torch.cat(
        [
            _row_norms(queries[r].double().mul_(scale) - points[c].double().mul_(scale), norm_order)
            for r, c in zip(query_indices.split(chunk_size), point_indices.split(chunk_size), strict=True)
        ]
    )
    ascending = distances.argsort(stable=True)
    ascending = ascending[query_indices[ascending].argsort(stable=True)]  # by query, then by distance, then by index
    first_positions = torch.bincount(query_indices, minlength=len(queries)).cumsum(0).roll(1)
    first_positions[0] = 0
    nearest_pairs = ascending[first_positions[:, None] + torch.arange(n_neighbors)]  # (m, n_neighbors)
    return distances[nearest_pairs], point_indices[nearest_pairs]


def _row_norms(difference: Tensor, norm_order: int) -> Tensor:
    """Return the norm of each row, (m,); squares neither overflow nor underflow, since each row is scaled to [1/2, 1].

    Writes into `difference`.
    """
    _, exponent = torch.frexp(difference.abs().amax(1, keepdim=True))
    unit = torch.pow(2.0, exponent.double().clamp_min(-MAX_EXPONENT))
    return torch.linalg.vector_norm(difference.div_(unit), ord=norm_order, dim=1) * unit[:, 0]


def _scale(*arrays: Tensor) -> float:
    """Return the power of two that scales the largest absolute value to [1/2, 1], within 2^±MAX_EXPONENT."""
    extremes = [float(extreme) for array in arrays for extreme in torch.aminmax(array)]
    _, exponent = math.frexp(max(map(abs, extremes)))
    return math.ldexp(1.0, -max(-MAX_EXPONENT, min(exponent, MAX_EXPONENT)))


def _squared_l2_distances(queries: Tensor, points: Tensor, norms: Tensor) -> Tensor:
    """Return squared L2 distances (m, n): ‖x‖² + ‖y‖² - 2 x·y."""
    query_squares = queries.square().sum(1, keepdim=True)
    return torch.addmm(norms.square(), queries, points.T, alpha=-2).add_(query_squares)


def _l1_distances(queries: Tensor, points: Tensor) -> Tensor:
    """Return L1 distances (m, n), in blocks of points that stay in the CPU cache: twice as fast as torch.cdist."""
    distances = torch.empty(len(queries), len(points))
    rows = max(1, CACHE_BYTES // (4 * points.shape[1]))
    difference = torch.empty(rows, points.shape[1])
    for part, columns in zip(points.split(rows), distances.split(rows, dim=1), strict=True):
        buffer = difference[: len(part)]
        for query, column in zip(queries, columns, strict=True):
            torch.sub(part, query, out=buffer)
            torch.sum(buffer.abs_(), 1, out=column)
    return distances


def _scale_and_centre(x: Tensor, centre: Tensor, scale: float) -> Tensor:
    """Return x * scale - centre in float32, rounded once."""
    return (x.double() * scale).sub_(centre).to(torch.float32)


def _check_count(n_neighbors: Any) -> None:
    """Raise TypeError unless the number of neighbours is an integer, and ValueError unless it is at least 1."""
    if isinstance(n_neighbors, bool) or not isinstance(n_neighbors, int | np.integer):
        raise TypeError(f"n_neighbors must be a whole number, not {n_neighbors!r}")
    if n_neighbors < 1:
        raise ValueError(f"n_neighbors must be at least 1, not {n_neighbors}")


def _to_tensor(array: Any) -> Tensor:
    """Return an array as a tensor, without a copy if PyTorch can use its memory."""
    return torch.from_numpy(np.require(array, requirements=("C", "W")))
