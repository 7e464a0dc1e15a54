"""k-means: Lloyd's algorithm written out, the decomposition of the variance, and the number of groups."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pellucid.lessons import lesson
from pellucid.lessons.kmeans import blobs


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
