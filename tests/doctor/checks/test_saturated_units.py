"""Sigmoid and tanh units whose outputs are near their limits."""

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import case_of
from pellucid.doctor.checks.saturated_units import CHECK
from pellucid.layers import Dense, ReLU, Sigmoid, Tanh
from pellucid.layers.base import Layer
from pellucid.model import Model

X = torch.randn(128, 20, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long()


def make_model(act: Layer, factor: float, bias: float = 0.0, stuck: int = 0) -> Model:
    model = Model(Sequential(Dense(10, init_weight="scaled"), act, Dense(2)), classes=2, input_shape=(20,))
    model.weights["dense1.weight"].mul_(factor)
    model.weights["dense1.bias"][:stuck] = bias
    return model


@pytest.mark.parametrize("act", [Sigmoid(), Tanh()])
def test_large_initial_weights_saturate_outputs(act: Layer) -> None:
    findings = CHECK.find(case_of(make_model(act, 30.0), X, Y, begin=lambda: make_model(act, 30.0)))
    assert [finding.path for finding in findings] == [("sigmoid1" if isinstance(act, Sigmoid) else "tanh1")]
    sums = (X @ make_model(act, 30.0).weights["dense1.weight"].T).double()
    slopes = 1 / torch.cosh(sums / 2) ** 2 if isinstance(act, Sigmoid) else 1 / torch.cosh(sums) ** 2
    assert findings[0].evidence["share_of_outputs_at_a_limit"] == pytest.approx(
        float((slopes < 0.05).double().mean()), abs=1e-6
    )
    assert findings[0].evidence["mean_slope"] == pytest.approx(float(slopes.mean()), rel=1e-3)


@pytest.mark.parametrize("act", [Sigmoid(), Tanh()])
def test_units_in_their_linear_range_have_no_finding(act: Layer) -> None:
    assert not CHECK.find(case_of(make_model(act, 1.0), X, Y))


def test_saturated_output_units_have_no_finding() -> None:
    net = Sequential(Dense(10), ReLU(), Dense(2), Sigmoid())
    model = Model(net, "quadratic", metrics=(), input_shape=(20,))
    model.weights["dense2.weight"].mul_(1000.0)
    assert not CHECK.find(case_of(model, X[:10], torch.zeros(10, 2)))
