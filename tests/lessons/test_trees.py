"""Trees: the best first split by trying all, bootstrap shares in closed form, and the accuracies of votes."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.datasets import load_iris, make_moons
from sklearn.tree import DecisionTreeClassifier

from pellucid.lessons import LessonSettings, lesson
from pellucid.lessons.trees import GUIDE, bagging, depth, rules


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


def test_other_values_of_the_sliders():
    iris = load_iris()
    accuracies = [rules(LessonSettings(), levels).numbers["training accuracy"] for levels in (1, 2, 5)]
    assert accuracies == sorted(accuracies)
    one_question = iris.data[:, 3] <= 0.8  # the rest can be right for one of the two other kinds only
    assert accuracies[0] == pytest.approx((one_question.sum() + 50) / 150)
    x, y = make_moons(500, noise=0.2, random_state=0)
    test = make_moons(2000, noise=0.2, random_state=1)
    scores = [DecisionTreeClassifier(max_depth=k, random_state=0).fit(x, y).score(*test) for k in range(1, 13)]
    numbers = depth(LessonSettings(), points=500, noise=0.2).numbers
    assert numbers["test: depth 1, best, depth 12"] == [scores[0], max(scores), scores[-1]]
    few_trees = bagging(LessonSettings(), trees=3, noise=0.4).numbers
    assert "3 trees, bagged: test accuracy" in few_trees
    assert "out-of-bag accuracy of the forest" not in few_trees


def test_the_answers_of_the_exercises():
    differ = [a != b for a in "rrrrrrbb" for b in "rrrrrrbb"]  # two points drawn at random
    sides = [list("rrrr"), list("rbbbbb")]
    differ_by_side = [np.mean([a != b for a in side for b in side]) for side in sides]
    weighted = sum(len(side) / 10 * value for side, value in zip(sides, differ_by_side, strict=True))
    vote = binom.sf(1, 3, 0.8)
    assert [exercise.answer for exercise in GUIDE.exercises] == pytest.approx([np.mean(differ), weighted, vote])
    expected_draws = 200 * (1 - (1 - 1 / 200) ** 200)
    assert expected_draws == pytest.approx(126, abs=1)  # as the right guess says
