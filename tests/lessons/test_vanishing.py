"""Vanishing gradients: the chain in closed form, and the speeds of Nielsen 2015, chapter 5."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pellucid.lessons import Lesson, LessonSettings, lesson
from pellucid.lessons.vanishing import GUIDE, chain, depths

BOOK = {2: [0.07, 0.31], 3: [0.012, 0.060, 0.283], 4: [0.003, 0.017, 0.070, 0.285]}


def test_a_chain_multiplies_the_factors():
    numbers = chain(LessonSettings()).numbers
    expected = {"w = 1": [0.25 * 0.25**9, 0.25], "w = 100": [0.25 * 25.0**9, 0.25]}
    for name, values in expected.items():
        assert numbers[f"{name}: gradients of the first and the last bias"] == pytest.approx(values, rel=1e-5)


@pytest.mark.slow
def test_first_layers_learn_slowly_and_delay_the_training():
    results = lesson("vanishing", small=True).results
    check_speeds(results["depths"].numbers)
    plateau = results["plateau"].numbers
    f = np.bincount(load_digits().target) / 1797  # of all digits; the lesson has the first 1,000 training images
    assert plateau["cost of the frequencies"] == pytest.approx(
        -(f * np.log(f) + (1 - f) * np.log(1 - f)).sum(), rel=0.01
    )
    first, last = plateau["last layer's speed over the first's, first and last epoch"]
    assert first > 30 * last
    last_accuracies = {
        name: results["accuracies"].numbers[f"{name}: test accuracy after the first and the last epoch"][1]
        for name in ("1 sigmoid layer", "4 sigmoid layers", "4 ReLU layers")
    }
    assert last_accuracies["4 sigmoid layers"] < 0.2
    assert min(last_accuracies["1 sigmoid layer"], last_accuracies["4 ReLU layers"]) > 0.75


@pytest.mark.lessons
@pytest.mark.real
def test_the_speeds_are_those_of_the_book(on_mnist: Callable[[str], Lesson]):
    results = on_mnist("vanishing").results
    assert results["depths"].numbers["data"] == "mnist"
    check_speeds(results["depths"].numbers)
    first, last = results["plateau"].numbers["last layer's speed over the first's, first and last epoch"]
    assert first > 50
    assert last < 3
    assert results["plateau"].numbers["last cost"] < 0.3


def check_speeds(numbers):
    """Check that speeds are within a factor of 2.5 of the book's single run, and lower in earlier layers."""
    for layers, book in BOOK.items():
        speeds = numbers[f"{layers} hidden layers"]
        assert speeds == sorted(speeds)
        assert np.abs(np.log(np.array(speeds) / book)).max() < np.log(2.5)


@pytest.mark.parametrize(("weight", "layers"), [(4.0, 5), (2.0, 20), (100.0, 20)])
def test_a_chosen_chain_multiplies_its_factors(weight, layers):
    first, last = chain(LessonSettings(), weight, layers).numbers[
        f"w = {weight:g}: gradients of the first and the last bias"
    ]
    assert first == pytest.approx(0.25 * (weight / 4) ** (layers - 1), rel=1e-5)
    assert last == pytest.approx(0.25)


def test_relus_keep_the_speed():
    speeds = depths(LessonSettings(small=True), "relu").numbers["4 hidden layers"]
    assert max(speeds) < 3 * min(speeds)


def test_the_answers_of_the_exercises():
    product, weight = GUIDE.exercises

    def output(bias):
        a = 1 / (1 + np.exp(-bias))
        for _ in range(4):
            a = 1 / (1 + np.exp(-(a - 0.5)))  # w = 1; the bias keeps z at 0
        return a

    slope = (output(1e-4) - output(-1e-4)) / 2e-4
    assert product.answer == pytest.approx(1000 * slope, abs=product.tolerance / 2)
    assert weight.answer == pytest.approx(1 / (0.9 * (1 - 0.9)), abs=weight.tolerance / 2)
