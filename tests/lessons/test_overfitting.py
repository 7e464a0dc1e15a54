"""Overfitting: the shape of the curves of Nielsen 2015, chapter 3."""

from collections.abc import Callable

import numpy as np
import pytest

from pellucid.lessons import Lesson, LessonSettings, lesson
from pellucid.lessons.overfitting import GUIDE, memorised, regularized, stopped


@pytest.mark.heavy
@pytest.mark.slow
def test_the_curves_have_the_shape_of_overfitting():
    results = lesson("overfitting", small=True).results
    memorised, more_data = results["memorised"].numbers, results["more_data"].numbers
    assert memorised["training accuracy"] == 1
    assert memorised["last test cost"] > 1.05 * memorised["lowest test cost"]
    assert memorised["in epoch"] <= 50  # of 200 epochs
    gaps = [train - test for train, test in zip(more_data["training"], more_data["test"], strict=True)]
    assert gaps == sorted(gaps, reverse=True)
    regularized = results["regularized"].numbers
    weights = regularized["mean squared weight of the first layer"]
    assert weights["L2, λ = 0.1"] < 0.8 * weights["neither"]
    for method in ("L2, λ = 0.1", "dropout 0.5, 100 neurons"):
        assert regularized[method]["last test cost"] < regularized["neither"]["last test cost"]
        assert regularized[method]["test accuracy"] > regularized["neither"]["test accuracy"]
    stopped = results["stopped"].numbers
    assert stopped["stopped after epoch"] == stopped["best epoch"] + 10 < 200


@pytest.mark.lessons
@pytest.mark.real
def test_on_mnist_the_curves_are_those_of_the_book(on_mnist: Callable[[str], Lesson]):
    results = on_mnist("overfitting").results
    memorised, more_data = results["memorised"].numbers, results["more_data"].numbers
    assert memorised["data"] == "mnist"
    assert memorised["training accuracy"] == 1
    assert memorised["test accuracy"] == pytest.approx(0.8227, abs=0.03)
    assert 5 <= memorised["in epoch"] <= 40  # 15 in the book
    assert memorised["last test cost"] > 1.15 * memorised["lowest test cost"]
    assert more_data["training"][0] - more_data["test"][0] > 0.25
    assert abs(more_data["training"][-1] - more_data["test"][-1]) < 0.02
    regularized = results["regularized"].numbers
    assert regularized["L2, λ = 0.1"]["test accuracy"] == pytest.approx(0.871, abs=0.02)
    assert regularized["L2, λ = 0.1"]["last test cost"] < 1.02 * regularized["L2, λ = 0.1"]["lowest test cost"]
    assert results["stopped"].numbers["stopped after epoch"] == results["stopped"].numbers["best epoch"] + 10


def test_few_neurons_cannot_memorize():
    assert memorised(LessonSettings(small=True), 3).numbers["training accuracy"] < 0.8


@pytest.mark.slow
def test_a_stronger_penalty_makes_smaller_weights():
    numbers = regularized(LessonSettings(small=True), 10.0).numbers
    assert numbers["mean squared weight of the first layer"]["L2, λ = 10"] < 0.02
    assert numbers["L2, λ = 10"]["training accuracy"] < 0.8


def test_the_training_stops_after_the_chosen_patience():
    numbers = stopped(LessonSettings(small=True), 1).numbers
    assert numbers["stopped after epoch"] == numbers["best epoch"] + 1


def test_the_answers_of_the_exercises():
    parameters, epoch = GUIDE.exercises
    shapes = [(784, 100), (100,), (100, 10), (10,)]
    assert parameters.answer == sum(np.zeros(shape).size for shape in shapes)
    costs = [5, 4, 3, 3.5, 3.2, 2.9, 3, 3.1]
    ends = [k + 1 for k in range(2, len(costs)) if min(costs[k - 1 : k + 1]) >= min(costs[: k - 1])]
    assert epoch.answer == ends[0]
    ends = [k + 1 for k in range(3, len(costs)) if min(costs[k - 2 : k + 1]) >= min(costs[: k - 2])]
    assert ends == []  # with the patience 3, the training goes on to the last of these epochs
