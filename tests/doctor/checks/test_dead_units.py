"""Rectifier units with a gradient of 0 for every example."""

import torch

from pellucid.combine import Sequential
from pellucid.doctor import case_of
from pellucid.doctor.checks.dead_units import CHECK
from pellucid.layers import ELU, GELU, Dense, LeakyReLU, ReLU, ReLU6
from pellucid.layers.base import Layer
from pellucid.model import Model

X = torch.randn(64, 5, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long()


def make_model(act: Layer, bias: float, n_biased: int, units: int = 10) -> Model:
    """Return a network whose first `n_biased` of `units` hidden units have this bias."""
    model = Model(Sequential(Dense(units), act, Dense(2)), classes=2, input_shape=(5,))
    model.weights["dense1.bias"][:n_biased] = bias
    return model


def test_units_with_negative_inputs_only_are_counted() -> None:
    findings = CHECK.find(case_of(make_model(ReLU(), -100.0, 6), X, Y))
    assert [finding.path for finding in findings] == ["relu1"]
    sums = (
        X @ make_model(ReLU(), -100.0, 6).weights["dense1.weight"].T
        + make_model(ReLU(), -100.0, 6).weights["dense1.bias"]
    )
    assert findings[0].evidence["dead"] == int((sums <= 0).all(0).sum()) == 6
    assert findings[0].evidence["share"] == 0.6


def test_a_few_dead_units_have_no_finding() -> None:
    assert not CHECK.find(case_of(make_model(ReLU(), -100.0, 4), X, Y))


def test_units_that_died_in_training_are_distinguished_from_initially_dead_ones() -> None:
    dead_initially = CHECK.find(
        case_of(make_model(ReLU(), -100.0, 8), X, Y, begin=lambda: make_model(ReLU(), -100.0, 8))
    )[0]
    dead_after_training = CHECK.find(case_of(make_model(ReLU(), -100.0, 8), X, Y))[0]  # the seed draws biases of 0
    assert (
        dead_initially.evidence["dead_before_the_first_step"],
        dead_after_training.evidence["dead_before_the_first_step"],
    ) == (8, 0)


def test_relu6_units_at_their_upper_limit_are_dead() -> None:
    assert CHECK.find(case_of(make_model(ReLU6(), 100.0, 6), X, Y))[0].evidence["dead"] == 6
    assert not CHECK.find(case_of(make_model(ReLU(), 100.0, 6), X, Y))


def test_rectifiers_with_a_slope_below_0_are_not_dead() -> None:
    for act in (LeakyReLU(), ELU(), GELU()):
        assert not CHECK.find(case_of(make_model(act, -1.0, 10), X, Y))


def test_a_regression_of_ten_examples_is_examined() -> None:
    regression = Model(Sequential(Dense(4), ReLU(), Dense(1)), "quadratic", metrics=(), input_shape=(5,))
    assert not CHECK.find(case_of(regression, X[:10], X[:10, :1]))
    regression.weights["dense1.bias"].fill_(-100.0)
    assert CHECK.find(case_of(regression, X[:10], X[:10, :1]))[0].evidence["dead"] == 4


def test_units_dead_for_equal_examples_have_no_finding() -> None:
    equal_x = X[:1].repeat(20, 1)
    model = Model(Sequential(Dense(40), ReLU(), Dense(2)), classes=2, input_shape=(5,))
    assert int((equal_x[0] @ model.weights["dense1.weight"].T <= 0).sum()) > 16  # more than 40 % of the units
    assert not CHECK.find(case_of(model, equal_x, Y[:20]))
