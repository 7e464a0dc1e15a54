"""Calibrated probabilities are the softmax of the logits over a temperature, and nothing else passes for one."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax

from pellucid.calibration.confidence import Confidence
from pellucid.errors import PellucidError
from pellucid.model import Model
from pellucid.models import mlp


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


def test_no_picture_gives_no_row():
    assert Confidence(2.0, 0.5).calibrate(torch.zeros(0, 4)).shape == (0, 4)


@pytest.mark.parametrize(
    ("probabilities", "why"),
    [
        (torch.tensor([0.5, 0.5]), r"probabilities \(N, classes\)"),
        (torch.ones(2, 1), "two classes at least"),
        (torch.ones(2, 2, dtype=torch.int64), "int64"),
        (torch.tensor([[0.5, float("nan")]]), "from 0 to 1"),
        (torch.tensor([[-0.1, 1.1]]), "from 0 to 1"),
        (torch.tensor([[3.0, 7.0]]), "from 0 to 1"),
    ],
)
def test_what_are_no_probabilities_is_refused(probabilities: torch.Tensor, why: str):
    with pytest.raises(PellucidError, match=why):
        Confidence(1.0, 0.5).calibrate(probabilities)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf, 1e9, True, "1", None])
def test_a_temperature_that_makes_no_sense_is_refused(temperature: Any):
    with pytest.raises(PellucidError, match="temperature must be a number from"):
        Confidence(temperature, 0.5)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, False, "0.5", None])
def test_a_threshold_that_makes_no_sense_is_refused(threshold: Any):
    with pytest.raises(PellucidError, match="threshold must be a number from 0 to 1"):
        Confidence(1.0, threshold)


def test_it_goes_through_json_unchanged():
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
def test_json_that_is_something_else_is_refused(value: Any):
    with pytest.raises(PellucidError, match="confidence"):
        Confidence.from_json(value)


def test_it_stays_with_the_weights(tmp_path: Path):
    model = Model(mlp((4, 3)), input_shape=(1, 2, 2))
    model.save(tmp_path / "without.safetensors")
    model.confidence = Confidence(1.5, 0.75)
    model.save(tmp_path / "with.safetensors")
    assert Model.load(tmp_path / "without.safetensors").confidence is None
    assert Model.load(tmp_path / "with.safetensors").confidence == Confidence(1.5, 0.75)
