"""Units that nothing depends on."""

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


def model(still: int, act: Layer | None = None, factor: float = 0.0, **options: object) -> Model:
    made = Model(Sequential(Dense(10), act or ReLU(), Dense(2)), classes=2, input_shape=(12,), **options)  # type: ignore[arg-type]
    made.weights["dense1.weight"][:still] *= factor
    made.weights["dense1.bias"][:still] = 0.5
    return made


@pytest.mark.parametrize("act", [ReLU(), Tanh()])
def test_units_that_say_the_same_always_are_counted(act: Layer) -> None:
    found = CHECK.look(case_of(model(5, act), X, Y))
    assert [one.path for one in found] == [type(act).__name__.lower() + "1"]
    assert (found[0].evidence["useless"], found[0].evidence["units"]) == (5, 10)
    assert found[0].evidence["answers_changed_without_them"] == 0
    y = act.forward({}, X @ model(5, act).weights["dense1.weight"].T, None)[0]  # type: ignore[arg-type]
    assert found[0].evidence["largest_deviation"] == pytest.approx(float(y.std(0, correction=0).max()), rel=1e-4)


def test_few_of_them_and_none_are_fine() -> None:
    assert not CHECK.look(case_of(model(4), X, Y))
    assert not CHECK.look(case_of(model(0), X, Y))


def test_small_units_that_the_next_layer_makes_large_are_needed() -> None:
    quiet = model(5, factor=0.002)
    assert CHECK.look(case_of(quiet, X, Y))
    quiet.weights["dense2.weight"][:, :5] *= 1000.0
    quiet.weights["dense2.bias"].sub_(0.5 * quiet.weights["dense2.weight"][:, :5].sum(1))  # what is always there
    assert not CHECK.look(case_of(quiet, X, Y))


def test_a_regression_of_ten_examples() -> None:
    curve = Model(Sequential(Dense(8), ReLU(), Dense(1)), "quadratic", metrics=(), input_shape=(12,))
    assert not CHECK.look(case_of(curve, X[:10], X[:10, :1]))
    curve.weights["dense1.weight"][:4] = 0.0
    curve.weights["dense1.bias"][:4] = 1.0
    assert CHECK.look(case_of(curve, X[:10], X[:10, :1]))[0].evidence["useless"] == 4
