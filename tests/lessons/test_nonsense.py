"""Confidence in nonsense: calibration error and temperature computed again with NumPy and SciPy."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from pellucid.lessons import Lesson, LessonSettings, lesson
from pellucid.lessons.nonsense import GUIDE, nonsense, overconfident, temperature, train_and_predict_halves


@pytest.mark.slow
def test_calibration_is_that_of_numpy_and_scipy():
    settings = LessonSettings(small=True)
    _, fitting_half, evaluation_half = train_and_predict_halves(settings)
    (p, y), (q, t) = (tuple(tensor.double().numpy() for tensor in half) for half in (fitting_half, evaluation_half))
    y, t = y.astype(int), t.astype(int)
    result = minimize_scalar(
        lambda log: -log_softmax(np.log(p) / np.exp(log), 1)[range(len(y)), y].mean(), bounds=(-3, 3), method="bounded",
        options={"xatol": 1e-7},
    )  # fmt: skip
    before, after = overconfident(settings).numbers, temperature(settings).numbers
    assert after["temperature"] == pytest.approx(np.exp(result.x), rel=1e-4)
    assert before["ECE"] == after["ECE before"] == pytest.approx(error(q, t))
    assert after["ECE"] == pytest.approx(error(softmax(np.log(q) / np.exp(result.x), 1), t), abs=1e-4)
    assert before["accuracy"] == after["accuracy"] == (q.argmax(1) == t).mean()
    assert after["temperature"] > 1
    assert after["ECE"] < before["ECE"]


@pytest.mark.slow
def test_a_chosen_temperature_gives_the_calibration_of_numpy():
    _, _, (p, y) = train_and_predict_halves(LessonSettings(small=True))
    calibrated = softmax(np.log(p.double().numpy()) / 2, 1)
    numbers = overconfident(LessonSettings(small=True), 2.0).numbers
    assert numbers["mean confidence"] == pytest.approx(calibrated.max(1).mean(), abs=1e-6)
    assert numbers["ECE"] == pytest.approx(error(calibrated, y.numpy()), abs=1e-5)


@pytest.mark.slow
def test_the_confidence_in_dark_nonsense_is_that_of_numpy():
    model, *_ = train_and_predict_halves(LessonSettings(small=True))
    black = model.predict(torch.zeros(1, 1, 8, 8)).max().item()
    numbers = [nonsense(LessonSettings(small=True), brightness).numbers["noise"] for brightness in (0.0, 0.1, 4.0)]
    confidences = [result["mean confidence"] for result in numbers]
    assert confidences[0] == pytest.approx(black, abs=1e-6)
    assert confidences == sorted(confidences)


def test_the_answers_of_the_exercises():
    probability, ece = GUIDE.exercises
    assert probability.answer == pytest.approx(softmax([1, 0])[0], abs=probability.tolerance / 2)
    p = np.repeat([[0.9, 0.1], [0.6, 0.4]], [100, 300], 0)
    y = np.repeat([0, 1, 0, 1], [70, 30, 180, 120])
    assert ece.answer == pytest.approx(error(p, y))


def test_nonsense_gets_high_confidence():
    numbers = lesson("nonsense", small=True).results["nonsense"].numbers
    assert min(numbers[kind]["mean confidence"] for kind in ("shuffled", "noise")) > 0.4  # chance: 0.1


@pytest.mark.lessons
@pytest.mark.real
def test_temperature_calibrates_on_mnist_and_does_not_recognize_nonsense(on_mnist: Callable[[str], Lesson]):
    results = on_mnist("nonsense").results
    assert results["nonsense"].numbers["data"] == "mnist"
    assert min(results["nonsense"].numbers[kind]["mean confidence"] for kind in ("shuffled", "noise")) > 0.4
    numbers = results["temperature"].numbers
    assert numbers["ECE"] < numbers["ECE before"] / 2
    assert numbers["shuffled: mean confidence before and after"][1] > 0.3


def error(p, y, bins: int = 15) -> float:
    """Return the expected calibration error, computed bin by bin."""
    confidence, is_correct = p.max(1), p.argmax(1) == y
    edges = np.linspace(0, 1, bins + 1)
    bin_masks = [(confidence > low) & (confidence <= high) for low, high in pairwise(edges)]
    return sum(abs(is_correct[mask].mean() - confidence[mask].mean()) * mask.mean() for mask in bin_masks if mask.any())
