"""k-means: Lloyd's algorithm written out, the decomposition of the variance, and the number of groups."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import silhouette_score

from pellucid.lessons import LessonSettings, lesson
from pellucid.lessons.kmeans import GUIDE, STARTS, blobs, count, digits, motion, starts


@cache
def results() -> dict[str, Any]:
    return lesson("kmeans").results


def test_each_iteration_is_lloyds():
    points = blobs(0)
    centres, inertias = points[:4], []
    for _ in range(20):
        nearest = ((points[:, None] - centres) ** 2).sum(-1).argmin(1)
        centres = np.stack([points[nearest == k].mean(0) for k in range(4)])
        inertias.append(((points[:, None] - centres) ** 2).sum(-1).min(1).sum())
    numbers = results()["lloyd"].numbers
    assert numbers["inertia"] == pytest.approx([inertias[k] for k in (0, 1, 2, 19)])
    for name in ("centres - means", "inertia - sum of squares", "total - within - between"):
        assert abs(numbers[name]) < 1e-9


def test_a_bad_start_ends_in_a_local_minimum():
    best_inertia, worst_inertia = results()["starts"].numbers["random starts, inertia of the best and the worst"]
    assert worst_inertia > 1.5 * best_inertia
    assert results()["starts"].numbers["k-means++, inertia"] <= best_inertia * (1 + 1e-9)


def test_the_silhouette_finds_the_four_groups():
    numbers = results()["count"].numbers
    assert numbers["k of the largest silhouette"] == 4
    assert numbers["inertia"] == sorted(numbers["inertia"], reverse=True)


def test_clusters_of_digits_are_mostly_of_one_class():
    assert results()["digits"].numbers["accuracy of the names"] > 0.7
    assert len(load_digits().target) == 1797


@pytest.mark.parametrize("starts", [STARTS, ((0, 0), (4, 4)), ((0, 0), (0.5, 0), (0, 0.5), (1, 1))])
def test_the_iterations_in_motion_are_scikit_learns(starts: tuple[tuple[float, float], ...]):
    points = blobs(0)
    numbers = motion(LessonSettings(), 5, starts).numbers
    fits = [KMeans(len(starts), init=starts, n_init=1, max_iter=k, tol=0).fit(points) for k in range(1, 6)]
    centres = fits[3].cluster_centers_
    nearest = ((points[:, None] - centres) ** 2).sum(-1).argmin(1)
    assert numbers["points of each cluster"] == np.bincount(nearest).tolist()
    assert numbers["inertia after each iteration"] == sorted(numbers["inertia after each iteration"], reverse=True)
    means = fits[4].cluster_centers_
    assert numbers["inertia after each iteration"][-1] == pytest.approx(((points - means[nearest]) ** 2).sum())
    assert numbers["farthest move of a centre"] == pytest.approx(np.linalg.norm(means - centres, axis=1).max())


def test_other_values_of_the_sliders():
    best_inertia, worst_inertia = starts(LessonSettings(), runs=1).numbers[
        "random starts, inertia of the best and the worst"
    ]
    assert best_inertia == worst_inertia
    wide_points = make_blobs(300, centers=[[0, 0], [4, 0], [0, 4], [4, 4]], cluster_std=1.2, random_state=0)[0]
    labels = KMeans(4, n_init=10, random_state=0).fit_predict(wide_points)
    assert count(LessonSettings(), spread=1.2).numbers["silhouette"][2] == pytest.approx(
        silhouette_score(wide_points, labels)
    )
    accuracies = [digits(LessonSettings(), clusters=k).numbers["accuracy of the names"] for k in (5, 10, 20)]
    assert accuracies == sorted(accuracies)


def test_the_answers_of_the_exercises():
    points = np.array([[0.0], [2], [3], [9]])
    second_centre = KMeans(2, init=np.array([[0.0], [3]]), n_init=1, max_iter=1).fit(points).cluster_centers_[1, 0]
    inertia = 3 * np.var([0, 1, 5])
    assert [exercise.answer for exercise in GUIDE.exercises] == pytest.approx([second_centre, inertia])
