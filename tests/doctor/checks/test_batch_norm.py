"""Batch normalization: running statistics that do not fit the data."""

import pytest

from pellucid.combine import Sequential
from pellucid.data import load
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.batch_norm import CHECK
from pellucid.layers import BatchNorm, Dense, Flatten, ReLU
from pellucid.model import Model
from pellucid.optim import SGD
from tests.doctor.small_cases import corners


def net_with_norm(momentum: float = 0.1) -> Sequential:
    return Sequential(flatten=Flatten(), dense=Dense(12), norm=BatchNorm(momentum), relu=ReLU(), scores=Dense(4))


def trained_case(net: Sequential, epochs: int = 10, batch_size: int = 16, offset: float = 0.0) -> Case:
    x, y = corners()
    model = Model(net, optimizer=SGD(0.1), input_shape=(1, 4, 4))
    history = model.fit(x + offset, y, epochs=epochs, batch_size=batch_size, verbose=False)
    return case_of(model, x + offset, y, history=history, batch_size=batch_size, epochs=epochs)


def test_a_last_batch_of_one_example_has_no_finding_since_it_is_merged() -> None:
    model = Model(net_with_norm(), input_shape=(1, 4, 4))
    assert not CHECK.find(case_of(model, *corners(33), batch_size=16))
    assert not case_of(model, *corners(33), batch_size=16).rehearsal.has_failed


def test_fitting_statistics_have_no_finding() -> None:
    assert not CHECK.find(trained_case(net_with_norm()))
    assert not CHECK.find(case_of(Model(net_with_norm(0.0), input_shape=(1, 4, 4)), *corners()))  # not trained yet
    assert not CHECK.find(trained_case(Sequential(flatten=Flatten(), scores=Dense(4))))


@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_statistics_of_only_the_last_batch_are_a_cause(momentum: float) -> None:
    data = load("digits")
    x, y = data.train.x[:800], data.train.y[:800]
    net = Sequential(
        flatten=Flatten(), dense=Dense(32), norm=BatchNorm(momentum), relu=ReLU(), more=Dense(32),
        again=BatchNorm(momentum), act=ReLU(), scores=Dense(10),
    )  # fmt: skip
    model = Model(net, optimizer=SGD(0.05), input_shape=(1, 8, 8))
    history = model.fit(x, y, epochs=3, batch_size=4, verbose=False)
    case = case_of(
        model, x, y, validation=(data.test.x, data.test.y), history=history, batch_size=4, epochs=3
    )  # fmt: skip
    assert [finding.path for finding in CHECK.find(case)] == ["norm"] * (momentum == 1.0)
