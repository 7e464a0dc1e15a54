"""The lesson about nearest neighbours, compared with NumPy, scikit-learn and ../shared/facts/learn.md."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from pellucid.data import load
from pellucid.lessons import LessonSettings, Result, lesson
from pellucid.lessons.neighbours import (
    GUIDE,
    QUERY,
    TEST_IMAGE,
    TRAINING_IMAGE,
    decisions,
    distances,
    flat_images,
    templates,
    voting,
)
from pellucid.report.figures.style import Plot, png


@cache
def lesson_results() -> Mapping[str, Result]:
    return lesson("neighbours", small=True).results


def numbers(step: str) -> Mapping[str, Any]:
    return lesson_results()[step].numbers


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return pixels 0 to 16 and classes of the training images, then of the test images."""
    splits = load("digits")
    (x, y), (test_x, test_y) = flat_images(splits.train), flat_images(splits.test)
    return (16 * x).astype(np.int64), y, (16 * test_x).astype(np.int64), test_y


def accuracies(x: Any, y: Any, queries: Any, labels: Any, metric: str, ks: list[int]) -> list[float]:
    """Return the accuracy for each k by sorting all distances; points at equal distances keep their order."""
    power = {"l1": 1, "l2": 2}[metric]
    distances = np.stack([(np.abs(x - query) ** power).sum(1) for query in queries])
    ordered = y[distances.argsort(1, kind="stable")]
    votes = (np.array([np.bincount(row[:k], minlength=10).argmax() for row in ordered]) for k in ks)
    return [float((result == labels).mean()) for result in votes]


@pytest.mark.slow
def test_distances_of_two_images_are_those_by_hand():
    assert numbers("distances") == {
        "l1": 456.0,
        "l2": pytest.approx(np.sqrt(np.square(np.subtract(TEST_IMAGE, TRAINING_IMAGE)).sum()), rel=1e-12),
    }


@pytest.mark.slow
def test_boundaries_are_those_of_scikit_learn():
    x, y = make_blobs(1150, centers=[(0, 0), (2.4, 0.4), (1, 2.2)], random_state=0)[:2]
    expected = {}
    for metric, name in (("L1", "manhattan"), ("L2", "euclidean")):
        for k in (1, 3, 5, 15):
            model = KNeighborsClassifier(k, metric=name).fit(x[:150], y[:150])
            scores = model.score(x[:150], y[:150]), model.score(x[150:], y[150:])
            expected[f"{metric}, k = {k}"] = dict(zip(("training", "1,000 new points"), scores, strict=True))
    values = numbers("decisions")["accuracy"]
    assert values == expected
    for metric in ("L1", "L2"):
        assert values[f"{metric}, k = 1"]["training"] == 1
        assert values[f"{metric}, k = 15"]["1,000 new points"] > values[f"{metric}, k = 1"]["1,000 new points"] + 0.05


def test_k_is_chosen_on_validation_images_only():
    result, (x, y, test_x, test_y) = numbers("choosing"), digits()
    split = 3 * len(x) // 4
    for metric in ("l1", "l2"):
        assert result[metric] == accuracies(x[:split], y[:split], x[split:], y[split:], metric, result["k"])
    metric, k = result["chosen"].split(", k = ")
    assert result[metric][result["k"].index(int(k))] == max(result["l1"] + result["l2"])
    assert [result["test accuracy"]] == accuracies(x, y, test_x, test_y, metric, [int(k)])


def test_templates_classify_as_scikit_learns_logistic_regression():
    x, y, test_x, test_y = digits()
    model = LogisticRegression(C=0.1, max_iter=1000, tol=1e-8).fit(x / 16, y)
    assert numbers("templates") == {
        "test accuracy": pytest.approx(model.score(test_x / 16, test_y), abs=1e-12),
        "weights": 640,
        "stored pixels": 64 * len(x),
    }
    assert len(x) + len(test_x) == 1797


def test_every_step_has_a_figure():
    assert all(isinstance(result.figure, Plot) and png(result.figure) for result in lesson_results().values())


def test_the_last_pixel_changes_the_distances_by_its_difference():
    others = np.abs(np.subtract(TEST_IMAGE, TRAINING_IMAGE)).ravel()[:-1]
    result = distances(LessonSettings(), 0).numbers
    assert result == {"l1": others.sum() + 112, "l2": pytest.approx(np.sqrt((others**2).sum() + 112**2))}


@pytest.mark.parametrize(("k", "spread"), [(75, 0.3), (150, 1.0)])
def test_boundaries_of_another_k_and_spread_are_those_of_scikit_learn(k, spread):
    x, y = make_blobs(1150, centers=[(0, 0), (2.4, 0.4), (1, 2.2)], cluster_std=spread, random_state=0)[:2]
    model = KNeighborsClassifier(k, metric="euclidean").fit(x[:150], y[:150])
    actual = decisions(LessonSettings(small=True), k, spread).numbers["accuracy"][f"L2, k = {k}"]
    assert actual["1,000 new points"] == model.score(x[150:], y[150:])


@pytest.mark.parametrize(("k", "query"), [(5, QUERY[0]), (1, (0.0, 2.9)), (15, (-3.0, 5.0))])
def test_the_votes_are_those_of_scikit_learn(k, query):
    x, y = make_blobs(60, centers=[(0, 0), (2.4, 0.4), (1, 2.2)], cluster_std=0.7, random_state=0)[:2]
    distances, nearest = KNeighborsClassifier(k).fit(x, y).kneighbors([query])
    numbers = voting(LessonSettings(), k, (query,)).numbers
    assert numbers["distances of the neighbours"] == pytest.approx(distances[0].tolist())
    assert [*numbers["votes"].values()] == np.bincount(y[nearest[0]], minlength=3).tolist()
    assert numbers["predicted"] == max(numbers["votes"], key=numbers["votes"].get)


def test_templates_of_another_strength_are_scikit_learns():
    x, y, test_x, test_y = digits()
    model = LogisticRegression(C=0.001, max_iter=1000, tol=1e-8).fit(x / 16, y)
    accuracy = templates(LessonSettings(small=True), 0.001).numbers["test accuracy"]
    assert accuracy == pytest.approx(model.score(test_x / 16, test_y), abs=1e-12)


def test_the_answers_of_the_exercises():
    distance, vote, weights = GUIDE.exercises
    assert distance.answer == np.linalg.norm([3, 4])
    model = KNeighborsClassifier(3).fit([[1], [2], [3], [4], [5]], [2, 7, 7, 2, 2])
    assert vote.answer == model.predict([[0]])[0]
    assert weights.answer == np.zeros((10, 28, 28)).size
