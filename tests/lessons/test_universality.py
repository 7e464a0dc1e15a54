"""Universal approximation: steps in closed form, and errors within their bounds at random points, by NumPy."""

import math

import numpy as np
import pytest
import torch

from pellucid.lessons import LessonSettings
from pellucid.lessons.universality import GUIDE, SLOPE_BOUND, approximate, built, steps_and_bumps, target_function


def sigmoid(z):
    return 1 / (1 + np.exp(-np.clip(z, -700, 700)))


def test_a_neuron_with_large_weights_approximates_a_step():
    for name, distance in steps_and_bumps(LessonSettings()).numbers.items():
        assert distance == pytest.approx(sigmoid(-0.02 * float(name.removeprefix("w = "))), rel=1e-6)


def function(x):
    return 0.2 + 0.4 * x**2 + 0.3 * x * np.sin(15 * x) + 0.05 * np.cos(50 * x)


def absolute_value(x):
    return (8.1 * (x - 0.37)).abs()


@pytest.mark.parametrize("error", [1.0, 0.3, 0.03])
def test_the_approximation_error_is_within_the_given_bound(error):
    x = np.random.default_rng(1).random(5000)
    for approximated, expected in ((target_function, function(x)), (absolute_value, np.abs(8.1 * (x - 0.37)))):
        net, params = approximate(approximated, SLOPE_BOUND, error)
        hidden, output = params["hidden"], params["output"]
        assert list(net.layers) == ["hidden", "sigmoid", "output"]
        z = np.outer(x, hidden["weight"].numpy()[:, 0]) + hidden["bias"].numpy()
        y = sigmoid(z) @ output["weight"].numpy()[0] + output["bias"].item()
        assert np.abs(y - expected).max() <= error
        assert hidden["weight"].shape == (math.ceil(8.1 / error), 1)


def test_the_slope_bounds_the_change_of_the_function():
    x = np.linspace(0, 1, 100_001)
    assert np.abs(np.diff(function(x)) / np.diff(x)).max() < SLOPE_BOUND
    assert np.allclose(target_function(torch.from_numpy(x)).numpy(), function(x), atol=1e-14)


def test_the_networks_of_the_lesson_have_errors_below_their_bounds():
    for name, result in built(LessonSettings()).numbers.items():
        error = float(name.removeprefix("error below "))
        assert result["largest error"] < error
        assert result["hidden neurons"] == math.ceil(8.1 / error)


def test_steps_at_other_places_are_as_steep():
    for name, distance in steps_and_bumps(LessonSettings(), 0.1, 0.05).numbers.items():
        assert distance == pytest.approx(sigmoid(-0.02 * float(name.removeprefix("w = "))), rel=1e-6)


@pytest.mark.parametrize("error", [0.5, 2.0])
def test_networks_of_larger_errors_have_fewer_neurons(error):
    result = built(LessonSettings(), error).numbers[f"error below {error:g}"]
    assert result["hidden neurons"] == math.ceil(8.1 / error)
    assert 0.05 < result["largest error"] < error


def test_the_answers_of_the_exercises():
    step, neurons = GUIDE.exercises
    x = np.linspace(0, 1, 1001)
    assert step.answer == pytest.approx(x[np.argmin(np.abs(sigmoid(100 * x - 40) - 0.5))])
    assert neurons.answer == len(approximate(torch.abs, 5.0, 0.02)[1]["hidden"]["bias"]) == round(5 / 0.02)
