"""Trees: the best first split by trying all, bootstrap shares in closed form, and the accuracies of votes."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris

from pellucid.lessons import Setting, lesson
from pellucid.lessons.trees import GUIDE, depth, rules


@cache
def results() -> dict[str, Any]:
    return lesson("trees").results


@pytest.mark.slow
def test_the_first_split_has_the_lowest_impurity_of_all():
    iris = load_iris()
    x, y = iris.data[:, 2:], iris.target

    def impurity(classes):
        return 1 - sum((classes == k).mean() ** 2 for k in range(3))

    impurities = [
        (left := x[:, k] <= threshold).mean() * impurity(y[left]) + (~left).mean() * impurity(y[~left])
        for k in (0, 1) for threshold in np.unique(x[:, k])[:-1]
    ]  # fmt: skip
    numbers = results()["rules"].numbers
    assert numbers["impurity before the first question"] == pytest.approx(2 / 3)  # three classes of 50
    assert numbers["and after"] == pytest.approx(min(impurities)) == pytest.approx(1 / 3)
    assert "petal width <= 0.8" in numbers["rules, line 1"]
    assert sum("class: " in str(value) for value in numbers.values()) == 5  # five leaves
    assert numbers["training accuracy"] > 0.95


@pytest.mark.slow
def test_deep_trees_overfit():
    _, best, last = results()["depth"].numbers["training: depth 1, best, depth 12"]
    first, highest, deepest = results()["depth"].numbers["test: depth 1, best, depth 12"]
    assert last == best > 0.98
    assert first < deepest < highest


def test_a_vote_of_trees_is_more_accurate_than_one_tree():
    numbers = results()["bagging"].numbers
    single_tree, bagged, forest = (
        numbers[f"{name}: test accuracy"] for name in ("one tree", "100 trees, bagged", "random forest")
    )
    assert single_tree < min(bagged, forest)
    assert numbers["share of the points in a sample"] == pytest.approx(1 - math.exp(-1), abs=0.01)
    assert numbers["out-of-bag accuracy of the forest"] == pytest.approx(forest, abs=0.04)


def test_a_forest_is_more_accurate_than_one_tree():
    numbers = results()["forest"].numbers
    assert numbers["mean accuracy of the forest's trees"] < numbers["one tree"] < numbers["random forest"]
    assert numbers["logistic regression"] > 0.93
    assert numbers["sum of the importances"] == pytest.approx(1)


def test_exercises_and_sliders_of_trees():
    impurity, share = GUIDE.exercises
    assert impurity.answer == 1 - (30 / 40) ** 2 - (10 / 40) ** 2
    assert share.answer == pytest.approx(100 * (1 - (1 - 1e-6) ** 1e6), abs=share.tolerance)
    flowers = rules(Setting(), max_depth=1).numbers
    assert flowers["training accuracy"] == pytest.approx(100 / 150)  # one kind is separated, two share a class
    _, best, last = depth(Setting(), noise=0.05).numbers["test: depth 1, best, depth 12"]
    assert last > best - 0.02
    _, best, last = depth(Setting(), noise=0.5).numbers["test: depth 1, best, depth 12"]
    assert last < best - 0.03
