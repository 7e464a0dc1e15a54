"""Batch normalization: too few values, statistics of other data."""

from dataclasses import replace

import pytest

from pellucid.combine import Sequential
from pellucid.data import load
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.batch_norm import CHECK
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten, ReLU
from pellucid.model import Model
from pellucid.optim import SGD
from tests.doctor.examined import corners


def normed(momentum: float = 0.1) -> Sequential:
    return Sequential(flatten=Flatten(), dense=Dense(12), norm=BatchNorm(momentum), relu=ReLU(), scores=Dense(4))


def trained(net: Sequential, epochs: int = 10, batch_size: int = 16, add: float = 0.0) -> Case:
    x, y = corners()
    it = Model(net, optimizer=SGD(0.1), input_shape=(1, 4, 4))
    history = it.fit(x + add, y, epochs=epochs, batch_size=batch_size, verbose=False)
    return case_of(it, x + add, y, history=history, batch_size=batch_size, epochs=epochs)


@pytest.mark.parametrize("batch_size", [2, 4])
def test_few_values_are_found(batch_size: int) -> None:
    (found,) = CHECK.look(replace(trained(normed()), batch_size=batch_size))
    assert (found.check, found.path) == ("batch-norm", "norm")
    assert found.evidence["values_per_channel"] == batch_size
    assert found.remedy is not None
    assert not CHECK.look(found.remedy.apply(trained(normed())))


def test_a_last_batch_of_one_is_found() -> None:
    it = Model(normed(), input_shape=(1, 4, 4))
    (found,) = CHECK.look(case_of(it, *corners(33), batch_size=16))
    assert found.evidence["values_in_the_last_batch"] == 1
    assert not CHECK.look(case_of(it, *corners(34), batch_size=16))


@pytest.mark.parametrize(
    ("n", "batch_size", "taken"), [(65, 32, 33), (65, 16, 17), (65, 4, 33), (64, 2, 32), (33, 2, 33)]
)
def test_its_remedy_leaves_no_single_example_over(n: int, batch_size: int, taken: int) -> None:
    it = case_of(Model(normed(), input_shape=(1, 4, 4)), *corners(n), batch_size=batch_size)
    (found,) = CHECK.look(it)
    assert found.remedy is not None
    assert found.remedy.apply(it).batch_size == taken
    assert not CHECK.look(found.remedy.apply(it))


def test_of_few_examples_no_batch_is_large_enough() -> None:
    (found,) = CHECK.look(case_of(Model(normed(), input_shape=(1, 4, 4)), *corners(4)))
    assert found.remedy is None


def test_places_count() -> None:
    net = Sequential(conv=Conv2d(3, 3), norm=BatchNorm(), relu=ReLU(), flatten=Flatten(), scores=Dense(4))
    it = Model(net, input_shape=(1, 4, 4))
    assert not CHECK.look(case_of(it, *corners(), batch_size=2))  # 2 x 2 x 2 values
    assert CHECK.look(case_of(it, *corners(), batch_size=1))


def test_statistics_that_are_never_updated_are_found() -> None:
    it = trained(normed(0.0), add=50.0)
    (found,) = CHECK.look(it)
    assert found.path == "norm"
    assert "never" in found.cause
    y = it.inputs(it.train).flatten(1) @ it.model.weights["dense.weight"].T + it.model.weights["dense.bias"]
    assert found.evidence["mean_off_by_standard_deviations"] == pytest.approx(float(y.mean(0).abs().median()), rel=1e-3)
    assert found.evidence["loss_by_running_statistics"] > found.evidence["loss_by_batch_statistics"]
    assert found.remedy is not None
    net = found.remedy.apply(it).model.net
    assert isinstance(net, Sequential)
    assert net.children["norm"] == BatchNorm(0.1)


def test_frozen_statistics_of_other_inputs_are_found() -> None:
    x, y = corners()

    def begin() -> Model:
        model = Model(normed(), optimizer=SGD(1e-5), input_shape=(1, 4, 4))
        model.freeze("norm.*")
        return model

    it = begin()
    it.fit(100 * x, y, epochs=1, batch_size=16, verbose=False)
    case = case_of(it, 100 * x, y, batch_size=16, begin=begin)
    (found,) = CHECK.look(case)
    assert "frozen" in found.cause
    assert found.remedy is not None
    assert found.remedy.apply(case).model.frozen == set()


def test_what_fits_is_quiet() -> None:
    assert not CHECK.look(trained(normed()))
    assert not CHECK.look(case_of(Model(normed(0.0), input_shape=(1, 4, 4)), *corners()))  # not trained yet
    assert not CHECK.look(trained(Sequential(flatten=Flatten(), scores=Dense(4))))


def behind(momentum: float, epochs: int) -> Case:
    """Trained for epochs of four steps on inputs far from where running statistics begin."""
    return trained(normed(momentum), epochs=epochs, add=50.0)


def test_few_steps_are_no_matter_of_the_momentum() -> None:
    (found,) = CHECK.look(behind(0.1, epochs=1))
    assert "so few steps" in found.cause
    assert (found.evidence["steps"], found.fix) == (4, "train for longer: they need 29 steps or more")
    assert found.evidence["share_of_the_first_values_left"] == pytest.approx(0.9**4)
    assert found.remedy is None


def test_a_momentum_that_is_too_small_is_named_after_many_steps() -> None:
    (found,) = CHECK.look(behind(0.001, epochs=10))
    assert "momentum is too small" in found.cause
    assert found.remedy is not None


def test_no_remedy_repeats_the_layers_momentum() -> None:
    it = behind(0.1, epochs=1)
    (found,) = CHECK.look(replace(it, history=None))  # nobody tells the steps
    assert "momentum of 0.1" not in found.fix
    assert found.remedy is None


@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_statistics_of_the_last_batch_alone_are_a_cause(momentum: float) -> None:
    data = load("digits")
    x, y = data.train.x[:800], data.train.y[:800]
    net = Sequential(
        flatten=Flatten(), dense=Dense(32), norm=BatchNorm(momentum), relu=ReLU(), more=Dense(32),
        again=BatchNorm(momentum), act=ReLU(), scores=Dense(10),
    )  # fmt: skip
    it = Model(net, optimizer=SGD(0.05), input_shape=(1, 8, 8))
    history = it.fit(x, y, epochs=3, batch_size=4, verbose=False)
    case = case_of(
        it, x, y, validation=(data.test.x, data.test.y), history=history, batch_size=4, epochs=3
    )  # fmt: skip
    proven = [one.path for one in CHECK.look(case) if one.direct]
    assert proven == ["norm"] * (momentum == 1.0)
