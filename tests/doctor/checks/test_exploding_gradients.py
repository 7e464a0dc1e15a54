"""Exploding outputs and gradients."""

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import case_of, diagnose
from pellucid.doctor.checks.exploding_gradients import CHECK
from pellucid.layers import BatchNorm, Dense, ReLU
from pellucid.model import Model
from pellucid.optim import SGD
from tests.doctor.small_cases import corners
from tests.doctor.small_cases import make_model as examined_model

X = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long()


def make_model(layers: int, init: str, norm: bool = False) -> Model:
    body = [
        part for _ in range(layers) for part in (Dense(64, init_weight=init), *([BatchNorm()] if norm else []), ReLU())
    ]
    return Model(Sequential(*body, Dense(2)), optimizer="sgd", classes=2, input_shape=(16,))


@pytest.mark.parametrize("layers", [1, 3, 8])
def test_he_weights_have_no_finding(layers: int) -> None:
    assert not CHECK.find(case_of(make_model(layers, "he"), X, Y))


def test_normalised_sums_do_not_grow() -> None:
    assert not CHECK.find(case_of(make_model(3, "normal", norm=True), X, Y))


def test_a_high_learning_rate_has_no_finding() -> None:
    model = make_model(2, "he")
    model.optimizer = SGD(lr=30.0)
    case = case_of(model, X, Y)
    assert case.rehearsal.has_failed or max(case.rehearsal.losses) > 10 * case.rehearsal.losses[0]
    assert not CHECK.find(case)


@pytest.mark.parametrize("rate", [1e3, 1e8, 1e30])
def test_a_burst_that_a_lower_rate_ends_is_caused_by_the_rate(rate: float) -> None:
    x, y = corners(400)
    case = case_of(examined_model(optimizer=SGD(rate)), x, y, batch_size=16, epochs=3)
    assert case.rehearsal.has_failed or max(case.rehearsal.losses) > 10 * case.rehearsal.losses[0]
    assert not CHECK.find(case)
    diagnosis = diagnose(case)
    assert diagnosis.names[0] == "learning-rate-too-high"
    assert {
        finding.check for index, finding in enumerate(diagnosis.findings) if index not in diagnosis.cause_by_consequence
    } == {diagnosis.names[0]}
