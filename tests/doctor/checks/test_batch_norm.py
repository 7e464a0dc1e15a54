"""Batch normalization: too few values per channel, running statistics that do not fit the data."""

from dataclasses import replace

import pytest

from pellucid.combine import Sequential
from pellucid.data import load
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.batch_norm import CHECK
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten, ReLU
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


@pytest.mark.parametrize("batch_size", [2, 4])
def test_few_values_per_channel_are_found(batch_size: int) -> None:
    (finding,) = CHECK.find(replace(trained_case(net_with_norm()), batch_size=batch_size))
    assert (finding.check, finding.path) == ("batch-norm", "norm")
    assert finding.evidence["values_per_channel"] == batch_size
    assert finding.remedy is not None
    assert not CHECK.find(finding.remedy.apply(trained_case(net_with_norm())))


def test_a_last_batch_of_one_example_has_no_finding_since_it_is_merged() -> None:
    model = Model(net_with_norm(), input_shape=(1, 4, 4))
    assert not CHECK.find(case_of(model, *corners(33), batch_size=16))
    assert not case_of(model, *corners(33), batch_size=16).rehearsal.has_failed


@pytest.mark.parametrize(
    ("n", "batch_size", "remedy_size"), [(65, 4, 32), (64, 2, 32), (33, 2, 32), (20, 1, 20), (40, 1, 32)]
)
def test_the_remedy_is_a_usual_batch_size(n: int, batch_size: int, remedy_size: int) -> None:
    case = case_of(Model(net_with_norm(), input_shape=(1, 4, 4)), *corners(n), batch_size=batch_size)
    (finding,) = CHECK.find(case)
    assert finding.remedy is not None
    assert finding.remedy.apply(case).batch_size == remedy_size
    assert not CHECK.find(finding.remedy.apply(case))


def test_few_examples_have_no_remedy() -> None:
    (finding,) = CHECK.find(case_of(Model(net_with_norm(), input_shape=(1, 4, 4)), *corners(4)))
    assert finding.remedy is None


def test_values_per_channel_include_positions() -> None:
    net = Sequential(conv=Conv2d(3, 3), norm=BatchNorm(), relu=ReLU(), flatten=Flatten(), scores=Dense(4))
    model = Model(net, input_shape=(1, 4, 4))
    assert not CHECK.find(case_of(model, *corners(), batch_size=2))  # 2 x 2 x 2 values
    assert CHECK.find(case_of(model, *corners(), batch_size=1))


def test_statistics_that_are_never_updated_are_found() -> None:
    case = trained_case(net_with_norm(0.0), offset=50.0)
    (finding,) = CHECK.find(case)
    assert finding.path == "norm"
    assert "never" in finding.cause
    y = case.inputs(case.train).flatten(1) @ case.model.weights["dense.weight"].T + case.model.weights["dense.bias"]
    assert finding.evidence["mean_off_by_standard_deviations"] == pytest.approx(
        float(y.mean(0).abs().median()), rel=1e-3
    )
    assert finding.evidence["loss_by_running_statistics"] > finding.evidence["loss_by_batch_statistics"]
    assert finding.remedy is not None
    net = finding.remedy.apply(case).model.net
    assert isinstance(net, Sequential)
    assert net.children["norm"] == BatchNorm(0.1)


def test_frozen_statistics_of_other_inputs_are_found() -> None:
    x, y = corners()

    def begin() -> Model:
        model = Model(net_with_norm(), optimizer=SGD(1e-5), input_shape=(1, 4, 4))
        model.freeze("norm.*")
        return model

    model = begin()
    model.fit(100 * x, y, epochs=1, batch_size=16, verbose=False)
    case = case_of(model, 100 * x, y, batch_size=16, begin=begin)
    (finding,) = CHECK.find(case)
    assert "frozen" in finding.cause
    assert finding.remedy is not None
    assert finding.remedy.apply(case).model.frozen == set()


def test_frozen_layers_without_their_running_statistics_are_a_fault() -> None:
    x, y = corners()

    def begin() -> Model:
        model = Model(net_with_norm(), optimizer=SGD(0.1), input_shape=(1, 4, 4))
        model.freeze("norm.*")
        return model

    model = begin()
    model.fit(100 * x, y, epochs=1, batch_size=16, verbose=False)
    model.weights["norm.running_mean"].zero_()
    model.weights["norm.running_var"].fill_(1.0)
    (finding,) = CHECK.find(case_of(model, 100 * x, y, batch_size=16, begin=begin))
    assert finding.is_fault
    assert "initial running statistics" in finding.cause


def test_fitting_statistics_have_no_finding() -> None:
    assert not CHECK.find(trained_case(net_with_norm()))
    assert not CHECK.find(case_of(Model(net_with_norm(0.0), input_shape=(1, 4, 4)), *corners()))  # not trained yet
    assert not CHECK.find(trained_case(Sequential(flatten=Flatten(), scores=Dense(4))))


def case_with_offset(momentum: float, epochs: int) -> Case:
    """Return a case trained for `epochs` of four steps on inputs far from the initial running statistics."""
    return trained_case(net_with_norm(momentum), epochs=epochs, offset=50.0)


def test_few_steps_are_the_cause_instead_of_the_momentum() -> None:
    (finding,) = CHECK.find(case_with_offset(0.1, epochs=1))
    assert "so few steps" in finding.cause
    assert (finding.evidence["steps"], finding.fix) == (4, "train for longer: they need 29 steps or more")
    assert finding.evidence["share_of_the_first_values_left"] == pytest.approx(0.9**4)
    assert finding.remedy is None


def test_a_momentum_that_is_too_small_is_named_after_many_steps() -> None:
    (finding,) = CHECK.find(case_with_offset(0.001, epochs=10))
    assert "momentum is too small" in finding.cause
    assert finding.remedy is not None


def test_the_usual_momentum_has_no_remedy() -> None:
    case = case_with_offset(0.1, epochs=1)
    (finding,) = CHECK.find(replace(case, history=None))  # the number of steps is unknown
    assert "momentum of 0.1" not in finding.fix
    assert finding.remedy is None


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
    direct_paths = [finding.path for finding in CHECK.find(case) if finding.is_fault]
    assert direct_paths == ["norm"] * (momentum == 1.0)
