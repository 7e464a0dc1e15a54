"""The ratio of updates to weights."""

import torch

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.update_ratio import CHECK
from pellucid.layers import BatchNorm, Conv2d, ConvTranspose2d, Dense, Flatten, ReLU
from pellucid.model import Model
from pellucid.optim import SGD
from pellucid.optim.regularizers import L2
from tests.doctor.small_cases import corners, dense_net


def case_with_layer_rate(factor: float, layer: str = "dense1", epochs: int = 3) -> Case:
    """Return the case of a training in which the learning rate of one layer is multiplied by `factor`."""

    def begin() -> Model:
        model = Model(dense_net(), optimizer=SGD(0.1), input_shape=(1, 4, 4))
        model.scale_rate(f"{layer}.*", factor)
        return model

    model, (x, y) = begin(), corners()
    history = model.fit(x, y, epochs=epochs, batch_size=16, verbose=False)
    return case_of(model, x, y, history=history, batch_size=16, epochs=epochs, begin=begin)


def test_only_the_layer_that_hardly_learns_is_found() -> None:
    case = case_with_layer_rate(1e-5)
    (finding,) = CHECK.find(case)
    assert (finding.check, finding.path) == ("update-ratio", "dense1.weight")
    usual_ratio = case_with_layer_rate(1.0).rehearsal.ratios["dense1.weight"]
    assert usual_ratio is not None
    assert 0.1 < finding.evidence["update_over_weight_in_the_first_steps"] / (1e-5 * usual_ratio) < 10


def test_huge_weights_before_a_norm_are_found() -> None:
    net = Sequential(flatten=Flatten(), dense1=Dense(12), norm=BatchNorm(), relu=ReLU(), dense2=Dense(4))

    def begin() -> Model:
        model = Model(net, optimizer=SGD(0.1), input_shape=(1, 4, 4))
        model.weights["dense1.weight"].mul_(1000)
        return model

    (finding,) = CHECK.find(case_of(begin(), *corners(), batch_size=16, begin=begin))
    assert finding.path == "dense1.weight"
    assert finding.evidence["update_over_weight_in_the_first_steps"] < 1e-5


def test_updates_as_large_as_the_weights_are_found() -> None:
    model = Model(Sequential(flatten=Flatten(), dense=Dense(4)), optimizer=SGD(30.0), input_shape=(1, 4, 4))
    x, y = corners()
    shuffled_y = y[torch.randperm(64, generator=torch.Generator().manual_seed(0))]  # so the gradients do not vanish
    (finding,) = CHECK.find(case_of(model, x, shuffled_y))
    assert finding.evidence["update_over_weight_in_the_first_steps"] > 0.1


def test_initial_weights_of_0_have_no_finding() -> None:
    def begin() -> Model:
        model = Model(dense_net(), optimizer=SGD(0.5), input_shape=(1, 4, 4))
        model.weights["dense2.weight"].zero_()
        return model

    assert not CHECK.find(case_of(begin(), *corners(), begin=begin))


def test_updates_by_a_regularizer_have_no_finding() -> None:
    model = Model(dense_net(), optimizer=SGD(0.1), input_shape=(1, 4, 4), regularizer=L2(200.0))
    assert not CHECK.find(case_of(model, *corners(), batch_size=16))


def test_a_working_training_has_no_finding() -> None:
    assert not CHECK.find(case_with_layer_rate(1.0))


def test_a_slow_transposed_convolution_is_found() -> None:
    net = Sequential(conv=Conv2d(4, 3), relu=ReLU(), up=ConvTranspose2d(1, 3))

    def begin() -> Model:
        model = Model(net, "quadratic", SGD(0.05), metrics=(), input_shape=(1, 4, 4))
        model.scale_rate("up.*", 1e-5)
        return model

    x, _ = corners()
    (finding,) = CHECK.find(case_of(begin(), x, x, batch_size=16, begin=begin))
    assert finding.path == "up.weight"
