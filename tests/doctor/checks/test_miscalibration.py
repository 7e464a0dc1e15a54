"""Predicted probabilities compared with the share of correct predictions."""

from dataclasses import replace

import pytest
import torch

from pellucid.calibration.confidence import Confidence
from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.miscalibration import CHECK
from pellucid.layers import Dense, Sigmoid
from pellucid.model import Model
from pellucid.run.history import History


def case_of_true_logits(factor: float, n: int = 1_000) -> Case:
    """Return a case whose outputs are the true logits times `factor`; labels follow the true probabilities."""
    rng = torch.Generator().manual_seed(0)
    logits = 1.5 * torch.randn(n, 5, generator=rng)
    y = torch.multinomial(logits.softmax(1), 1, generator=rng)[:, 0]
    model = Model(Sequential(dense=Dense(5)), input_shape=(5,))
    model.weights["dense.weight"].copy_(factor * torch.eye(5))
    return case_of(model, logits, y, validation=(logits, y))


def test_overconfidence_is_found() -> None:
    factor = 4.0
    case = case_of_true_logits(factor)
    (finding,) = CHECK.find(case)
    assert (finding.check, finding.path) == ("miscalibration", "validation")
    assert finding.evidence["best_temperature"] == pytest.approx(factor, rel=0.15)
    p = (factor * case.train.x).softmax(1).max(1)
    accuracy = float((p.indices == case.train.y).float().mean())
    assert finding.evidence["mean_probability_of_the_answer"] == pytest.approx(float(p.values.mean()), abs=1e-5)
    assert finding.evidence["share_of_right_answers"] == pytest.approx(accuracy, abs=1e-5)
    assert finding.evidence["difference_in_standard_deviations"] > 0
    assert not CHECK.find(case_of_true_logits(0.2))


def test_true_probabilities_have_no_finding() -> None:
    assert not CHECK.find(case_of_true_logits(1.0))
    assert not CHECK.find(case_of_true_logits(1.5))  # slightly miscalibrated


def test_a_calibrated_model_has_no_finding() -> None:
    case = case_of_true_logits(4.0)
    case.model.confidence = Confidence(4.0, 0.0)
    assert not CHECK.find(case)


def test_too_few_examples_have_no_finding() -> None:
    assert not CHECK.find(case_of_true_logits(4.0, n=100))
    assert not CHECK.find(replace(case_of_true_logits(4.0), validation=None))


def test_scores_that_are_no_probabilities_have_no_finding() -> None:
    case = case_of_true_logits(4.0)
    sigmoid_model = Model(Sequential(dense=Dense(5), sigmoid=Sigmoid()), "quadratic", input_shape=(5,))
    sigmoid_model.weights["dense.weight"].copy_(4 * torch.eye(5))
    assert not CHECK.find(case_of(sigmoid_model, case.train.x, case.train.y, validation=(case.train.x, case.train.y)))


def with_losses(case: Case, *losses: float) -> Case:
    return replace(case, history=History([{"epoch": k + 1, "train_loss": loss} for k, loss in enumerate(losses)]))
