"""Calibrated probabilities are the softmax of the logits over a temperature, fitted by maximum likelihood."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from pellucid.base.errors import PellucidError
from pellucid.calibration.confidence import Confidence, fit_temperature, negative_log_likelihood
from pellucid.model import Model
from pellucid.models import mlp
from tests.calibration.probabilities import draw_predictions


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_calibrated_is_the_softmax_of_the_logits_over_the_temperature(temperature: float):
    logits = np.random.default_rng(0).normal(0, 3, (20, 7))
    probabilities = torch.tensor(softmax(logits, axis=1))
    expected = softmax(logits / temperature, axis=1)
    np.testing.assert_allclose(Confidence(temperature, 0.5).calibrate(probabilities).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.01, 1.0, 100.0])
def test_a_probability_of_zero_gives_finite_numbers_that_sum_to_one(dtype: torch.dtype, temperature: float):
    rows = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], dtype=dtype)
    calibrated = Confidence(temperature, 0.0).calibrate(rows).double()
    assert calibrated.sum(1).tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    assert calibrated.argmax(1).tolist() == [0, 0, 2]
    assert float(calibrated[1, 0]) == float(calibrated[1, 1])


def test_an_empty_batch_gives_no_rows():
    assert Confidence(2.0, 0.5).calibrate(torch.zeros(0, 4)).shape == (0, 4)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (torch.tensor([0.5, 0.5]), r"probabilities \(N, classes\)"),
        (torch.ones(2, 1), "at least two classes"),
        (torch.ones(2, 2, dtype=torch.int64), "int64"),
        (torch.tensor([[0.5, float("nan")]]), "from 0 to 1"),
        (torch.tensor([[-0.1, 1.1]]), "from 0 to 1"),
        (torch.tensor([[3.0, 7.0]]), "from 0 to 1"),
    ],
)
def test_invalid_probabilities_are_refused(probabilities: torch.Tensor, message: str):
    with pytest.raises(PellucidError, match=message):
        Confidence(1.0, 0.5).calibrate(probabilities)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf, 1e9, True, "1", None])
def test_invalid_temperatures_are_refused(temperature: Any):
    with pytest.raises(PellucidError, match="temperature must be a number from"):
        Confidence(temperature, 0.5)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, False, "0.5", None])
def test_invalid_thresholds_are_refused(threshold: Any):
    with pytest.raises(PellucidError, match="threshold must be a number from 0 to 1"):
        Confidence(1.0, threshold)


def test_a_confidence_is_restored_from_json():
    value = Confidence(1.7, 0.93)
    assert Confidence.from_json(json.loads(json.dumps(value.to_json()))) == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"temperature": 1.0},
        {"temperature": 1.0, "threshold": 0.5, "code": "x"},
        {"temperature": [], "threshold": 0.5},
    ],
)
def test_json_that_is_not_a_confidence_is_refused(value: Any):
    with pytest.raises(PellucidError, match="confidence"):
        Confidence.from_json(value)


def test_a_confidence_is_saved_with_the_weights(tmp_path: Path):
    model = Model(mlp((4, 3)), input_shape=(1, 2, 2))
    model.save(tmp_path / "without.safetensors")
    model.confidence = Confidence(1.5, 0.75)
    model.save(tmp_path / "with.safetensors")
    assert Model.load(tmp_path / "without.safetensors").confidence is None
    assert Model.load(tmp_path / "with.safetensors").confidence == Confidence(1.5, 0.75)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_scaled_logits_is_recovered(temperature: float):
    assert fit_temperature(*draw_predictions(40_000, temperature)) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("n", [3, 40, 1000])
@pytest.mark.parametrize("true_temperature", [0.6, 2.0])
def test_the_temperature_is_scipys_minimum_of_the_negative_log_likelihood(n: int, true_temperature: float):
    probabilities, targets = draw_predictions(n, true_temperature, seed=n)
    other_probability = 1 / (n + 2)
    soft_targets = np.full(probabilities.shape, other_probability / 4)  # shared by the other four classes
    soft_targets[np.arange(n), targets.numpy()] = 1 - other_probability
    logits = np.log(probabilities.numpy())

    def loss(log_temperature: float) -> float:
        return -(soft_targets * log_softmax(logits / np.exp(log_temperature), axis=1)).sum(1).mean()

    minimum = minimize_scalar(loss, bounds=(np.log(0.01), np.log(100)), method="bounded", options={"xatol": 1e-10})
    assert fit_temperature(probabilities, targets, other_probability) == pytest.approx(
        float(np.exp(minimum.x)), rel=1e-5
    )


@pytest.mark.parametrize(("targets", "bound"), [([1, 1, 1], 100.0), ([0, 0, 0], 0.01)])
def test_the_temperature_is_limited_to_its_bounds(targets: list[int], bound: float):
    rows = torch.tensor([[0.50001, 0.49999]] * 3 if bound < 1 else [[0.9, 0.1]] * 3)
    assert fit_temperature(rows, torch.tensor(targets)) == pytest.approx(bound, rel=1e-6)


def test_the_temperature_is_where_the_likelihood_is_best():
    p, targets = draw_predictions(300, 3.0)
    temperature = fit_temperature(p, targets)
    assert negative_log_likelihood(p, targets, temperature) < min(
        negative_log_likelihood(p, targets, temperature * factor) for factor in (0.97, 1.03)
    )
