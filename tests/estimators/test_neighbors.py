"""Nearest neighbours are exact; ties of distances and of votes go to the first point or class."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn import neighbors
from sklearn.datasets import load_digits
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid.data import load
from pellucid.estimators import KNeighborsClassifier
from pellucid.estimators import neighbors as neighbors_module
from pellucid.estimators.neighbors import nearest

RNG = np.random.default_rng(0)
DIGITS_X, DIGITS_Y = load_digits(return_X_y=True)


@pytest.mark.parametrize(("metric", "name"), [("l2", "euclidean"), ("l1", "cityblock")])
@pytest.mark.parametrize("kind", ["float64", "float32", "far", "tied", "uint8"])
def test_neighbours_are_those_of_a_sorted_table_of_all_distances(metric: str, name: str, kind: str) -> None:
    points, queries = {
        "float64": (RNG.normal(size=(300, 7)), RNG.normal(size=(40, 7))),
        "float32": (RNG.random((300, 20), np.float32), RNG.random((40, 20), np.float32)),
        "far": (1e6 + RNG.normal(size=(300, 3)), 1e6 + RNG.normal(size=(40, 3))),  # many are equal in float32
        "tied": (RNG.integers(0, 3, (300, 2)).astype(float), RNG.integers(0, 3, (40, 2)).astype(float)),
        "uint8": (RNG.integers(0, 256, (300, 20), np.uint8), RNG.integers(0, 256, (40, 20), np.uint8)),
    }[kind]
    all_distances = cdist(queries.astype(float), points.astype(float), name)
    expected = all_distances.argsort(1, kind="stable")[:, :9]
    distances, indices = KNeighborsClassifier(metric=metric).fit(points, np.arange(300) % 3).kneighbors(queries, 9)
    np.testing.assert_allclose(distances, np.take_along_axis(all_distances, expected, 1), rtol=1e-12)
    np.testing.assert_array_equal(indices, expected)


@pytest.mark.parametrize(("metric", "p"), [("l2", 2), ("l1", 1)])
def test_digits_are_classified_as_by_scikit_learn(metric: str, p: int) -> None:
    fitted = KNeighborsClassifier(3, metric=metric).fit(DIGITS_X[:1000], DIGITS_Y[:1000])
    expected = neighbors.KNeighborsClassifier(3, p=p, algorithm="brute").fit(DIGITS_X[:1000], DIGITS_Y[:1000])
    probabilities = fitted.predict_proba(DIGITS_X[1000:])
    np.testing.assert_allclose(probabilities, expected.predict_proba(DIGITS_X[1000:]))
    assert fitted.score(DIGITS_X[1000:], DIGITS_Y[1000:]) == expected.score(DIGITS_X[1000:], DIGITS_Y[1000:])


@pytest.mark.parametrize(("metric", "name"), [("l2", "euclidean"), ("l1", "cityblock")])
@pytest.mark.parametrize("exponent", [-900, -400, -130, 66, 130, 400, 900])
def test_neighbours_do_not_depend_on_the_scale_of_the_data(metric: str, name: str, exponent: int) -> None:
    """Scaling by a power of two changes only the exponent of a number; 2^66 squared overflows float32."""
    points, queries = RNG.normal(size=(60, 4)), RNG.normal(size=(9, 4))
    all_distances = cdist(queries, points, name)
    expected = all_distances.argsort(1, kind="stable")[:, :5]
    fitted = KNeighborsClassifier(metric=metric).fit(np.ldexp(points, exponent), np.arange(60) % 3)
    distances, indices = fitted.kneighbors(np.ldexp(queries, exponent))
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(
        np.ldexp(distances, -exponent), np.take_along_axis(all_distances, expected, 1), rtol=1e-12
    )


@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize("outlier", [1e4, 1e12, 1e200])
def test_one_far_point_changes_no_other_neighbour(metric: str, outlier: float) -> None:
    points, queries = RNG.normal(size=(60, 4)), RNG.normal(size=(9, 4))
    all_distances = cdist(queries, points, "euclidean" if metric == "l2" else "cityblock")
    all_distances[:, 0] = np.inf
    points[0] = outlier
    fitted = KNeighborsClassifier(metric=metric).fit(points, np.arange(60) % 3)
    np.testing.assert_array_equal(fitted.kneighbors(queries)[1], all_distances.argsort(1, kind="stable")[:, :5])


class LargestTensor(TorchDispatchMode):
    """Record the bytes of the largest tensor that an operation returns."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run the operation and record the size of its result."""
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple) else (result,):
            self.bytes = max(self.bytes, value.nbytes if isinstance(value, torch.Tensor) else 0)
        return result


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_distances_are_computed_in_blocks(metric: str, monkeypatch) -> None:
    """With an outlier too, no tensor exceeds 2^16 bytes or the points in float32; distances take 400 x 2,000 x 4."""
    points, queries = RNG.normal(size=(2000, 8)), RNG.normal(size=(400, 8))
    points[0] *= 1e4
    for name in ("BLOCK_BYTES", "PAIR_BYTES", "CACHE_BYTES"):
        monkeypatch.setattr(neighbors_module, name, 1 << 16)
    monkeypatch.setattr(neighbors_module, "CHUNK_SIZE", 500)
    x, y = torch.from_numpy(queries), torch.from_numpy(points)
    with LargestTensor() as largest:
        nearest(y, x, 3, metric)
    assert (1 << 15) < largest.bytes <= max(1 << 16, 4 * points.size)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, np.uint64, bool, np.float16, np.longdouble, ">f8"])
def test_every_numeric_dtype_is_accepted(dtype) -> None:
    points = np.array([[0, 0], [1, 0], [1, 1]]).astype(dtype)
    distances, indices = KNeighborsClassifier(2).fit(points, [0, 1, 1]).kneighbors(points[2:])
    assert (distances.tolist(), indices.tolist()) == ([[0.0, 1.0]], [[2, 1]])


def test_ties_between_classes_go_to_the_first_class() -> None:
    fitted = KNeighborsClassifier(2).fit([[0.0], [1.0]], ["later", "earlier"])
    assert fitted.predict([[0.1]]).tolist() == ["earlier"]
    assert fitted.predict_proba([[0.1]]).tolist() == [[0.5, 0.5]]


def test_more_neighbours_than_points_is_a_value_error() -> None:
    fitted = KNeighborsClassifier(3).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(
        ValueError, match="Expected n_neighbors <= n_samples_fit, but n_neighbors = 3, n_samples_fit = 2"
    ):
        fitted.predict([[0.5]])


@pytest.mark.parametrize(
    ("count", "error", "message"),
    [(0, ValueError, "at least 1"), (-1, ValueError, "at least 1"), (2.5, TypeError, "whole number")],
)
def test_an_invalid_number_of_neighbours_is_refused_in_each_call(count, error: type[Exception], message: str) -> None:
    fitted = KNeighborsClassifier(1).fit([[0.0], [1.0], [2.0]], [0, 1, 1])
    with pytest.raises(error, match=message):
        fitted.kneighbors([[0.5]], count)
    with pytest.raises(error, match=message):
        fitted.set_params(n_neighbors=count).predict([[0.5]])


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (KNeighborsClassifier(0), ValueError, "at least 1"),
        (KNeighborsClassifier(2.5), TypeError, "whole number"),
        (KNeighborsClassifier(metric="cosine"), ValueError, "metric must be one of l1, l2"),
    ],
)
def test_the_error_for_an_invalid_parameter_names_it(estimator, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        estimator.fit([[0.0], [1.0]], [0, 1])


def test_the_plot_shows_the_predicted_regions_and_the_points() -> None:
    points, labels = DIGITS_X[:60, 20:22], np.array(["zero", "one", "two"])[DIGITS_Y[:60] % 3]
    fitted = KNeighborsClassifier(1).fit(points, labels)
    plot = fitted.plot(points, labels).axes[0]
    drawn_points = sorted(
        map(tuple, np.concatenate([collection.get_offsets() for collection in plot.collections[-3:]]))
    )
    assert drawn_points == sorted(map(tuple, points))
    assert [text.get_text() for text in plot.get_legend().get_texts()] == ["one", "two", "zero"]
    with pytest.raises(ValueError, match="2 features"):
        KNeighborsClassifier().fit(DIGITS_X, DIGITS_Y).plot(DIGITS_X, DIGITS_Y)


@pytest.mark.long
@pytest.mark.real
def test_mnist_is_classified_as_by_scikit_learn() -> None:
    """The error for k = 3 is 2.95 %, that of scikit-learn's brute force on pixel values 0 to 255."""
    mnist = load("mnist")
    fitted = KNeighborsClassifier(3).fit(mnist.train.x.flatten(1).numpy(), mnist.train.y.numpy())
    error = 1 - fitted.score(mnist.test.x.flatten(1).numpy(), mnist.test.y.numpy())
    assert error == pytest.approx(0.0295, abs=0.0015)
