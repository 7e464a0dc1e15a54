"""The fitted temperature is the likeliest one."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from pellucid.calibration.temperature import fit_temperature, likelihood
from tests.calibration.probabilities import drawn


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_by_which_a_network_is_too_sure_is_found(temperature: float):
    assert fit_temperature(*drawn(40_000, temperature)) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("n", [3, 40, 1000])
@pytest.mark.parametrize("true", [0.6, 2.0])
def test_the_temperature_is_where_scipy_finds_the_least_negative_log_likelihood(n: int, true: float):
    probabilities, targets = drawn(n, true, seed=n)
    spare = 1 / (n + 2)
    soft = np.full(probabilities.shape, spare / 4)  # which the other four classes share
    soft[np.arange(n), targets.numpy()] = 1 - spare
    logits = np.log(probabilities.numpy())

    def loss(log_temperature: float) -> float:
        return -(soft * log_softmax(logits / np.exp(log_temperature), axis=1)).sum(1).mean()

    best = minimize_scalar(loss, bounds=(np.log(0.01), np.log(100)), method="bounded", options={"xatol": 1e-10})
    assert fit_temperature(probabilities, targets, spare) == pytest.approx(float(np.exp(best.x)), rel=1e-5)


@pytest.mark.parametrize(("targets", "end"), [([1, 1, 1], 100.0), ([0, 0, 0], 0.01)])
def test_the_temperature_keeps_within_its_bounds(targets: list[int], end: float):
    rows = torch.tensor([[0.50001, 0.49999]] * 3 if end < 1 else [[0.9, 0.1]] * 3)
    assert fit_temperature(rows, torch.tensor(targets)) == pytest.approx(end, rel=1e-6)


def test_the_temperature_is_where_the_likelihood_is_best():
    p, targets = drawn(300, 3.0)
    best = fit_temperature(p, targets)
    assert likelihood(p, targets, best) < min(likelihood(p, targets, best * by) for by in (0.97, 1.03))
