"""Gradients that do not reach the early layers."""

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import case_of
from pellucid.doctor.checks.vanishing_gradients import CHECK
from pellucid.layers import Dense, ReLU, Sigmoid
from pellucid.layers.base import Layer
from pellucid.model import Model
from pellucid.optim import SGD

X = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long()


def deep_model(layers: int, act: Layer, init: str = "he", rate: float = 0.1) -> Model:
    body = [part for _ in range(layers) for part in (Dense(16, init_weight=init), act)]
    return Model(Sequential(*body, Dense(2)), optimizer=SGD(lr=rate), classes=2, input_shape=(16,))


def test_six_layers_of_sigmoids_are_found() -> None:
    model = deep_model(6, Sigmoid(), "xavier")
    findings = CHECK.find(case_of(model, X, Y))
    assert [finding.path for finding in findings] == ["dense1"]
    assert findings[0].evidence["late_layer"] == "dense7"
    # a sigmoid's slope is at most 1/4, and the largest singular value of square Xavier weights is about 2
    assert 0 < float(findings[0].evidence["early_over_late_gradient"]) < 0.25**6 * 2**6


def test_the_ratio_is_that_of_two_gradient_norms() -> None:
    def begin() -> Model:
        model = deep_model(2, ReLU(), rate=1e-6)
        model.weights["dense2.weight"].mul_(1e-4)
        return model

    model = begin()
    findings = CHECK.find(case_of(model, X, Y, begin=begin))
    ratio = findings[0].evidence["early_over_late_before_the_first_step"]
    w1, w2, w3 = (model.weights[f"dense{k}.weight"].double() for k in (1, 2, 3))
    h1 = X.double() @ w1.T
    h2 = h1.relu() @ w2.T
    dy3 = torch.softmax(h2.relu() @ w3.T, 1) - torch.nn.functional.one_hot(Y, 2)
    dy1 = ((dy3 @ w3) * (h2 > 0)) @ w2 * (h1 > 0)
    assert ratio == pytest.approx(float(dy1.norm() / dy3.norm()), rel=1e-4)


@pytest.mark.parametrize("layers", [1, 6])
def test_relu_layers_with_he_weights_have_no_finding(layers: int) -> None:
    assert not CHECK.find(case_of(deep_model(layers, ReLU()), X, Y))


def test_a_last_layer_of_zeros_has_no_finding() -> None:
    def begin() -> Model:
        model = deep_model(2, ReLU())
        model.weights["dense3.weight"].zero_()
        return model

    assert not CHECK.find(case_of(begin(), X, Y, begin=begin))


def test_one_layer_has_no_gradient_decay() -> None:
    model = Model(Sequential(Dense(1)), "quadratic", metrics=(), input_shape=(16,))
    assert not CHECK.find(case_of(model, X[:10], X[:10, :1]))


def test_the_remedy_ends_the_finding() -> None:
    case = case_of(deep_model(6, Sigmoid(), "xavier"), X, Y)
    remedy = CHECK.find(case)[0].remedy
    assert remedy is not None
    assert not CHECK.find(remedy.apply(case))
