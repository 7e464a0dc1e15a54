"""One sigmoid neuron: the learning curves by NumPy, and the outputs that Nielsen 2015, chapter 3, gives."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest

from pellucid.lessons import LessonSettings
from pellucid.lessons.neuron import GUIDE, derivatives, learning


@cache
def learning_numbers() -> Mapping[str, Any]:
    """Return the numbers of the step `learning`, which is run only once."""
    return learning(LessonSettings()).numbers


def outputs(weight: float, bias: float, factor, rate: float = 0.15) -> list[float]:
    """Return the outputs of 301 epochs for input 1 and target 0; the gradient is a * factor(a)."""
    result = []
    for _ in range(301):
        a = 1 / (1 + np.exp(-(weight + bias)))
        result.append(a)
        weight, bias = weight - rate * a * factor(a), bias - rate * a * factor(a)
    return result


COSTS = {"quadratic": lambda a: a * (1 - a), "cross-entropy": lambda a: 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(("weight", "bias"), [(0.6, 0.9), (2.0, 2.0)])
def test_the_neuron_learns_as_its_equations_say(cost, weight, bias):
    name = f"{cost}, w = {weight:g}, b = {bias:g}"
    expected = outputs(weight, bias, COSTS[cost])
    actual = learning_numbers()[name]
    assert actual["first"] == pytest.approx(expected[0], abs=1e-6)
    assert actual["after 150 epochs"] == pytest.approx(expected[150], abs=1e-5)
    assert actual["last"] == pytest.approx(expected[300], abs=1e-5)
    a = expected[0]
    assert derivatives(LessonSettings()).numbers[name] == pytest.approx(a * COSTS[cost](a), rel=1e-5)


def test_the_outputs_are_those_of_the_book():
    last_outputs = [learning_numbers()[f"quadratic, {start}"]["last"] for start in ("w = 0.6, b = 0.9", "w = 2, b = 2")]
    assert np.round(last_outputs, 2).tolist() == [0.09, 0.2]


def test_chosen_starts_and_rates_learn_as_the_equations_say():
    numbers = learning(LessonSettings(), weight=4.0, rate=2.0).numbers
    for cost, factor in COSTS.items():
        expected = outputs(4.0, 2.0, factor, 2.0)
        assert numbers[f"{cost}, w = 4, b = 2"]["after 150 epochs"] == pytest.approx(expected[150], abs=1e-5)


def test_derivatives_for_other_inputs_and_targets_are_those_of_the_equations():
    numbers = derivatives(LessonSettings(), x=0.5, target=1.0).numbers
    a = 1 / (1 + np.exp(-(2 * 0.5 + 2)))
    assert numbers["cross-entropy, w = 2, b = 2"] == pytest.approx((a - 1) * 0.5, rel=1e-5)
    assert numbers["quadratic, w = 2, b = 2"] == pytest.approx((a - 1) * a * (1 - a) * 0.5, rel=1e-4)


def test_the_answers_of_the_exercises():
    slope, step = GUIDE.exercises
    a = np.linspace(0, 1, 1001)
    assert slope.answer == pytest.approx((a * (1 - a)).max())
    output = 1 / (1 + np.exp(-4))
    assert step.answer == pytest.approx(2 - 0.15 * output, abs=step.tolerance / 2)
    quadratic_step = 2 - 0.15 * output**2 * (1 - output)
    assert [*step.mistakes] == pytest.approx([quadratic_step, 2 + 0.15 * output], abs=1e-3)
