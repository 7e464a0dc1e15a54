"""Softmax compared with SciPy's, its Jacobian with finite differences, and its accuracy with that of sigmoids."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.special

from pellucid.lessons import Lesson, LessonSettings, lesson
from pellucid.lessons.softmax import GUIDE, gradient, probabilities

Z = np.array([2.5, -1.0, 3.2, 0.5])


def test_the_numbers_are_those_of_scipy():
    results = lesson("softmax", small=True).results
    p = scipy.special.softmax(Z)
    numbers = results["probabilities"].numbers
    assert numbers["outputs"] == pytest.approx(p.tolist())
    assert numbers["largest difference of a sum from 1"] < 1e-12
    assert numbers["largest change when 7 is added to every z"] < 1e-12
    assert numbers["first over third output, range"] == pytest.approx([np.exp(2.5 - 3.2)] * 2)
    for c in (0, 1, 10):
        assert results["sharpness"].numbers[f"outputs for c = {c}"] == pytest.approx(
            scipy.special.softmax(c * Z).tolist()
        )
    step = 1e-6 * np.eye(4)
    slopes = [(np.log(scipy.special.softmax(Z - e)[0]) - np.log(scipy.special.softmax(Z + e)[0])) / 2e-6 for e in step]
    for values in results["gradient"].numbers.values():
        assert values == pytest.approx(slopes, abs=1e-8)
    check_accuracies(results["accuracies"].numbers, 0.93)


@pytest.mark.lessons
@pytest.mark.real
def test_softmax_and_sigmoid_outputs_have_similar_accuracy_on_mnist(on_mnist: Callable[[str], Lesson]):
    numbers = on_mnist("softmax").results["accuracies"].numbers
    assert numbers["data"] == "mnist"
    check_accuracies(numbers, 0.945)


def check_accuracies(numbers, min_accuracy: float):
    assert min(numbers[f"{name}: test accuracy"] for name in ("sigmoids", "softmax")) > min_accuracy
    assert numbers["range of the sum of outputs"]["softmax"] == pytest.approx([1, 1], abs=1e-5)
    low, high = numbers["range of the sum of outputs"]["sigmoids"]
    assert low < 0.9
    assert high > 1.1


@pytest.mark.parametrize(("target_class", "factor"), [(2, 3.0), (4, 0.0)])
def test_gradients_of_a_chosen_target_and_factor_are_those_of_scipy(target_class, factor):
    expected = scipy.special.softmax(factor * Z) - np.eye(4)[target_class - 1]
    for values in gradient(LessonSettings(), target_class, factor).numbers.values():
        assert values == pytest.approx(expected.tolist(), abs=1e-12)


def test_outputs_of_chosen_sums_are_those_of_scipy():
    numbers = probabilities(LessonSettings(), 6.0, 0.0).numbers
    assert numbers["outputs"] == pytest.approx(scipy.special.softmax([6.0, -1.0, 0.0, 0.5]).tolist())
    assert numbers["first over third output, range"] == pytest.approx([np.exp(6)] * 2)


def test_the_answers_of_the_exercises():
    second, cost = GUIDE.exercises
    assert second.answer == pytest.approx(scipy.special.softmax([0, np.log(3)])[1])
    assert cost.answer == pytest.approx(-np.log(0.1), abs=cost.tolerance / 2)
