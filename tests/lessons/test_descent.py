"""Gradient descent: the paths in closed form and by NumPy."""

import itertools

import numpy as np
import pytest
import torch

from pellucid.lessons import LessonSettings
from pellucid.lessons.descent import (
    GUIDE,
    OPTIMIZER_STEPS,
    STEPS_TAKEN,
    batches,
    fit_line,
    line_data,
    optimizers,
    rates,
)


def test_the_paths_on_the_surface_are_those_of_the_closed_form():
    numbers = rates(LessonSettings(), rate=0.6).numbers
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
    numbers = batches(LessonSettings()).numbers
    x, y = (tensor.double().numpy() for tensor in line_data(0))
    minimum = np.polynomial.polynomial.polyfit(x[:, 0], y[:, 0], 1)
    assert np.allclose(numbers["minimum"], minimum, atol=1e-4)
    batch, mini, single = (numbers[name] for name in ("batch", "mini-batch of 10", "stochastic"))
    assert [result["steps"] for result in (batch, mini, single)] == [10, 100, 1000]
    assert batch["distance"] > 3 * single["distance"]
    assert single["mean step of the last epoch"] > 3 * mini["mean step of the last epoch"]


SLIDERS = GUIDE.sliders["optimizers"]


@pytest.mark.parametrize(("rate", "steepness"), [*itertools.product(*(slider.values for slider in SLIDERS))])
def test_the_optimizers_take_the_steps_of_pytorch(rate: float, steepness: float):
    numbers = optimizers(LessonSettings(), rate, steepness).numbers
    assert numbers["largest rate of SGD"] == pytest.approx(2 / steepness)
    rules = {
        "SGD": lambda params: torch.optim.SGD(params, rate),
        "momentum": lambda params: torch.optim.SGD(params, rate, momentum=0.9),
        "Adam": lambda params: torch.optim.Adam(params, rate),
    }
    for name, rule in rules.items():
        point = torch.ones(2, dtype=torch.float64, requires_grad=True)
        optimizer = rule([point])
        path = [point.detach().clone()]
        for _ in range(OPTIMIZER_STEPS):
            optimizer.zero_grad()
            cost = steepness / 2 * point[0] ** 2 + point[1] ** 2 / 2
            cost.backward()
            optimizer.step()
            path.append(point.detach().clone())
        assert numbers[name]["first step"] == pytest.approx((path[1] - path[0]).tolist(), rel=1e-6)
        assert numbers[name]["end"] == pytest.approx(path[-1].tolist(), rel=1e-6, abs=1e-12)
        x, y = path[-1].tolist()
        assert numbers[name]["cost"] == pytest.approx(steepness / 2 * x**2 + y**2 / 2, rel=1e-6)
        if name == "Adam":  # moves alike in both coordinates, in a valley of any steepness
            assert torch.allclose(path[-1], path[-1].flip(0), rtol=0, atol=1e-6)


def test_the_largest_rates_in_a_steep_valley_are_those_of_the_remarks():
    for name, limit in (("SGD", 2 / 30), ("momentum", 3.8 / 30)):
        below, above = (
            optimizers(LessonSettings(), factor * limit, 30.0).numbers[name]["cost"] for factor in (0.95, 1.05)
        )
        assert below < 15.5 < above  # the initial cost is (30 + 1) / 2
