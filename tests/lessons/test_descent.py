"""Gradient descent: the paths in closed form and by NumPy."""

import numpy as np
import pytest

from pellucid.lessons import Setting
from pellucid.lessons.descent import STEPS_TAKEN, batches, fit_line, line_data, rates


def test_the_paths_on_the_surface_are_those_of_the_closed_form():
    numbers = rates(Setting(), rate=0.6).numbers
    assert numbers["gradient at the start"] == [3, 1]
    assert numbers["largest rate"] == pytest.approx(2 / 3)
    rates_by_name = {"too small, 0.02": 0.02, "chosen, 0.6": 0.6, "too large, 0.7": 0.7}
    for name, rate in rates_by_name.items():
        x, y = (1 - 3 * rate) ** STEPS_TAKEN, (1 - rate) ** STEPS_TAKEN
        assert numbers[name]["end"] == pytest.approx([x, y], rel=1e-9)
        assert numbers[name]["cost"] == pytest.approx(1.5 * x**2 + 0.5 * y**2, rel=1e-9)
    costs = [numbers[name]["cost"] for name in rates_by_name]
    assert costs[1] < costs[0] < 2 < costs[2]  # the initial cost is 2


def test_a_batch_path_is_that_of_numpy():
    x, y = (tensor.double().numpy() for tensor in line_data(3))
    columns, point, expected = np.column_stack([np.ones(100), x]), np.zeros(2), []
    for _ in range(6):
        expected.append(point)
        point = point - 0.1 * columns.T @ (columns @ point - y[:, 0]) / 100
    actual = fit_line(*line_data(3), 100, 5, 3).numpy()
    assert np.allclose(actual, expected, rtol=0, atol=1e-5)


def test_stochastic_descent_comes_closer_with_more_steps_without_converging():
    numbers = batches(Setting()).numbers
    x, y = (tensor.double().numpy() for tensor in line_data(0))
    minimum = np.polynomial.polynomial.polyfit(x[:, 0], y[:, 0], 1)
    assert np.allclose(numbers["minimum"], minimum, atol=1e-4)
    batch, mini, single = (numbers[name] for name in ("batch", "mini-batch of 10", "stochastic"))
    assert [result["steps"] for result in (batch, mini, single)] == [10, 100, 1000]
    assert batch["distance"] > 3 * single["distance"]
    assert single["mean step of the last epoch"] > 3 * mini["mean step of the last epoch"]
