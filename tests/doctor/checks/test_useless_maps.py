"""Units on which no prediction depends."""

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import case_of
from pellucid.doctor.checks.useless_maps import CHECK
from pellucid.layers import Dense, ReLU, Tanh
from pellucid.layers.base import Layer
from pellucid.model import Model

X = torch.randn(64, 12, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long()


def make_model(n_constant: int, act: Layer | None = None, factor: float = 0.0, **options: object) -> Model:
    model = Model(Sequential(Dense(10), act or ReLU(), Dense(2)), classes=2, input_shape=(12,), **options)  # type: ignore[arg-type]
    model.weights["dense1.weight"][:n_constant] *= factor
    model.weights["dense1.bias"][:n_constant] = 0.5
    return model


@pytest.mark.parametrize("act", [ReLU(), Tanh()])
def test_constant_units_are_counted(act: Layer) -> None:
    findings = CHECK.find(case_of(make_model(5, act), X, Y))
    assert [finding.path for finding in findings] == [type(act).__name__.lower() + "1"]
    assert (findings[0].evidence["useless"], findings[0].evidence["units"]) == (5, 10)
    assert findings[0].evidence["answers_changed_without_them"] == 0
    y = act.forward({}, X @ make_model(5, act).weights["dense1.weight"].T, None)[0]  # type: ignore[arg-type]
    assert findings[0].evidence["largest_deviation"] == pytest.approx(float(y.std(0, correction=0).max()), rel=1e-4)


def test_few_or_no_constant_units_have_no_finding() -> None:
    assert not CHECK.find(case_of(make_model(4), X, Y))
    assert not CHECK.find(case_of(make_model(0), X, Y))


def test_small_units_with_large_weights_behind_them_have_no_finding() -> None:
    model = make_model(5, factor=0.002)
    assert CHECK.find(case_of(model, X, Y))
    model.weights["dense2.weight"][:, :5] *= 1000.0
    model.weights["dense2.bias"].sub_(0.5 * model.weights["dense2.weight"][:, :5].sum(1))  # their constant part
    assert not CHECK.find(case_of(model, X, Y))


def test_constant_units_of_a_regression_are_counted() -> None:
    model = Model(Sequential(Dense(8), ReLU(), Dense(1)), "quadratic", metrics=(), input_shape=(12,))
    assert not CHECK.find(case_of(model, X[:10], X[:10, :1]))
    model.weights["dense1.weight"][:4] = 0.0
    model.weights["dense1.bias"][:4] = 1.0
    assert CHECK.find(case_of(model, X[:10], X[:10, :1]))[0].evidence["useless"] == 4
