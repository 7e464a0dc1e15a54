"""Units that no example reaches."""

import torch

from pellucid.combine import Sequential
from pellucid.doctor import case_of
from pellucid.doctor.checks.dead_units import CHECK
from pellucid.layers import ELU, GELU, Dense, LeakyReLU, ReLU, ReLU6
from pellucid.layers.base import Layer
from pellucid.model import Model

X = torch.randn(64, 5, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long()


def model(act: Layer, bias: float, low: int, units: int = 10) -> Model:
    """Return a network of which the first `low` of 10 units have this bias."""
    made = Model(Sequential(Dense(units), act, Dense(2)), classes=2, input_shape=(5,))
    made.weights["dense1.bias"][:low] = bias
    return made


def test_units_below_every_sum_are_counted() -> None:
    found = CHECK.look(case_of(model(ReLU(), -100.0, 6), X, Y))
    assert [one.path for one in found] == ["relu1"]
    sums = X @ model(ReLU(), -100.0, 6).weights["dense1.weight"].T + model(ReLU(), -100.0, 6).weights["dense1.bias"]
    assert found[0].evidence["dead"] == int((sums <= 0).all(0).sum()) == 6
    assert found[0].evidence["share"] == 0.6


def test_a_few_dead_units_are_common() -> None:
    assert not CHECK.look(case_of(model(ReLU(), -100.0, 4), X, Y))


def test_what_died_in_training_is_distinguished_from_what_began_dead() -> None:
    began = CHECK.look(case_of(model(ReLU(), -100.0, 8), X, Y, begin=lambda: model(ReLU(), -100.0, 8)))[0]
    died = CHECK.look(case_of(model(ReLU(), -100.0, 8), X, Y))[0]  # its seed draws biases of 0
    assert (began.evidence["dead_before_the_first_step"], died.evidence["dead_before_the_first_step"]) == (8, 0)


def test_relu6_is_dead_at_its_top_too() -> None:
    assert CHECK.look(case_of(model(ReLU6(), 100.0, 6), X, Y))[0].evidence["dead"] == 6
    assert not CHECK.look(case_of(model(ReLU(), 100.0, 6), X, Y))


def test_rectifiers_with_a_slope_below_0_are_not_dead() -> None:
    for act in (LeakyReLU(), ELU(), GELU()):
        assert not CHECK.look(case_of(model(act, -1.0, 10), X, Y))


def test_a_regression_of_ten_examples_is_looked_at() -> None:
    regression = Model(Sequential(Dense(4), ReLU(), Dense(1)), "quadratic", metrics=(), input_shape=(5,))
    assert not CHECK.look(case_of(regression, X[:10], X[:10, :1]))
    regression.weights["dense1.bias"].fill_(-100.0)
    assert CHECK.look(case_of(regression, X[:10], X[:10, :1]))[0].evidence["dead"] == 4


def test_examples_that_look_alike_leave_half_of_random_units_at_0() -> None:
    one = X[:1].repeat(20, 1)
    random = Model(Sequential(Dense(40), ReLU(), Dense(2)), classes=2, input_shape=(5,))
    assert int((one[0] @ random.weights["dense1.weight"].T <= 0).sum()) > 16  # more than 40 %
    assert not CHECK.look(case_of(random, one, Y[:20]))
