"""Updates beside weights."""

import torch

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.update_ratio import CHECK
from pellucid.layers import BatchNorm, Conv2d, ConvTranspose2d, Dense, Flatten, ReLU
from pellucid.model import Model
from pellucid.optim import SGD
from pellucid.optim.regularizers import L2
from tests.doctor.examined import corners, dense_net


def paced(factor: float, name: str = "dense1", epochs: int = 3) -> Case:
    """A training in which one layer learns at another rate."""

    def begin() -> Model:
        model = Model(dense_net(), optimizer=SGD(0.1), input_shape=(1, 4, 4))
        model.scale_rate(f"{name}.*", factor)
        return model

    it, (x, y) = begin(), corners()
    history = it.fit(x, y, epochs=epochs, batch_size=16, verbose=False)
    return case_of(it, x, y, history=history, batch_size=16, epochs=epochs, begin=begin)


def test_a_layer_that_hardly_learns_is_found_alone() -> None:
    it = paced(1e-5)
    (found,) = CHECK.look(it)
    assert (found.check, found.path) == ("update-ratio", "dense1.weight")
    full = paced(1.0).rehearsal.ratios["dense1.weight"]
    assert full is not None
    assert 0.1 < found.evidence["update_over_weight_in_the_first_steps"] / (1e-5 * full) < 10


def test_huge_weights_before_a_norm_are_found() -> None:
    net = Sequential(flatten=Flatten(), dense1=Dense(12), norm=BatchNorm(), relu=ReLU(), dense2=Dense(4))

    def begin() -> Model:
        model = Model(net, optimizer=SGD(0.1), input_shape=(1, 4, 4))
        model.weights["dense1.weight"].mul_(1000)
        return model

    (found,) = CHECK.look(case_of(begin(), *corners(), batch_size=16, begin=begin))
    assert found.path == "dense1.weight"
    assert found.evidence["update_over_weight_in_the_first_steps"] < 1e-5


def test_updates_as_large_as_the_weights_are_found() -> None:
    it = Model(Sequential(flatten=Flatten(), dense=Dense(4)), optimizer=SGD(30.0), input_shape=(1, 4, 4))
    x, y = corners()
    mixed = y[torch.randperm(64, generator=torch.Generator().manual_seed(0))]  # so that gradients do not end
    (found,) = CHECK.look(case_of(it, x, mixed))
    assert found.evidence["update_over_weight_in_the_first_steps"] > 0.1


def test_weights_that_begin_at_zero_are_no_fault() -> None:
    def begin() -> Model:
        model = Model(dense_net(), optimizer=SGD(0.5), input_shape=(1, 4, 4))
        model.weights["dense2.weight"].zero_()
        return model

    assert not CHECK.look(case_of(begin(), *corners(), begin=begin))


def test_what_a_regularizer_shrinks_is_not_counted() -> None:
    it = Model(dense_net(), optimizer=SGD(0.1), input_shape=(1, 4, 4), regularizer=L2(200.0))
    assert not CHECK.look(case_of(it, *corners(), batch_size=16))


def test_a_training_that_works_is_quiet() -> None:
    assert not CHECK.look(paced(1.0))


def test_transposed_convolutions_count() -> None:
    net = Sequential(conv=Conv2d(4, 3), relu=ReLU(), up=ConvTranspose2d(1, 3))

    def begin() -> Model:
        model = Model(net, "quadratic", SGD(0.05), metrics=(), input_shape=(1, 4, 4))
        model.scale_rate("up.*", 1e-5)
        return model

    x, _ = corners()
    (found,) = CHECK.look(case_of(begin(), x, x, batch_size=16, begin=begin))
    assert found.path == "up.weight"
