"""Sigmoid and tanh units at their ends."""

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


def model(act: Layer, factor: float, bias: float = 0.0, stuck: int = 0) -> Model:
    made = Model(Sequential(Dense(10, init_weight="scaled"), act, Dense(2)), classes=2, input_shape=(20,))
    made.weights["dense1.weight"].mul_(factor)
    made.weights["dense1.bias"][:stuck] = bias
    return made


@pytest.mark.parametrize("act", [Sigmoid(), Tanh()])
def test_large_first_weights_pin_outputs_at_both_ends(act: Layer) -> None:
    found = CHECK.look(case_of(model(act, 30.0), X, Y, begin=lambda: model(act, 30.0)))
    assert [one.path for one in found] == [("sigmoid1" if isinstance(act, Sigmoid) else "tanh1")]
    sums = (X @ model(act, 30.0).weights["dense1.weight"].T).double()
    slopes = 1 / torch.cosh(sums / 2) ** 2 if isinstance(act, Sigmoid) else 1 / torch.cosh(sums) ** 2
    assert found[0].evidence["share_of_outputs_at_a_limit"] == pytest.approx(
        float((slopes < 0.05).double().mean()), abs=1e-6
    )
    assert found[0].evidence["mean_slope"] == pytest.approx(float(slopes.mean()), rel=1e-3)


@pytest.mark.parametrize("act", [Sigmoid(), Tanh()])
def test_units_in_their_middle_are_well(act: Layer) -> None:
    assert not CHECK.look(case_of(model(act, 1.0), X, Y))


def test_units_stuck_at_one_end_are_found_though_others_are_well() -> None:
    found = CHECK.look(case_of(model(Sigmoid(), 1.0, -50.0, 5), X, Y))
    assert found[0].evidence["stuck_units"] == 5
    assert not CHECK.look(case_of(model(Sigmoid(), 1.0, -50.0, 4), X, Y))


def test_a_network_may_answer_with_the_ends() -> None:
    net = Sequential(Dense(10), ReLU(), Dense(2), Sigmoid())
    sure = Model(net, "quadratic", metrics=(), input_shape=(20,))
    sure.weights["dense2.weight"].mul_(1000.0)
    assert not CHECK.look(case_of(sure, X[:10], torch.zeros(10, 2)))
