"""What networks end in, by their loss and targets."""

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import case_of
from pellucid.doctor.checks.wrong_output import CHECK
from pellucid.layers import Dense, Dropout, Flatten, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from pellucid.layers.base import Layer
from pellucid.losses import L1, BinaryCrossEntropy, Huber, Loss, Quadratic, SoftmaxCrossEntropy
from pellucid.train.model import Model
from tests.doctor.examined import case, corners


def ending(*last: Layer, units: int = 4) -> Sequential:
    named = {f"last{place}": layer for place, layer in enumerate(last)}
    return Sequential(flatten=Flatten(), dense=Dense(units), **named)


@pytest.mark.parametrize("layer", [ReLU(), Sigmoid(), Tanh(), LeakyReLU()])
def test_an_activation_before_the_softmax_of_the_loss_is_found(layer: Layer) -> None:
    (found,) = CHECK.look(case(ending(layer)))
    assert (found.check, found.path) == ("wrong-output", "last0")
    assert found.evidence["last_layer"] == type(layer).__name__
    assert found.remedy is not None
    assert not CHECK.look(found.remedy.apply(case(ending(layer))))


def test_an_activation_inside_nested_sequentials_has_its_whole_path() -> None:
    net = Sequential(flatten=Flatten(), head=Sequential(dense=Dense(4), relu=ReLU(), shape=Flatten()))
    assert [one.path for one in CHECK.look(case(net))] == ["head.relu"]


def test_dropout_behind_the_last_layer_is_found() -> None:
    (found,) = CHECK.look(case(ending(Dropout(0.5))))
    assert found.path == "last0"
    assert not CHECK.look(case(ending(Dropout(0.0))))


def test_targets_that_a_sigmoid_cannot_reach_are_counted() -> None:
    x, _ = corners()
    y = torch.linspace(0, 2, 64)[:, None]  # half of them above 1
    it = Model(ending(Sigmoid(), units=1), Quadratic(), metrics=(), input_shape=(1, 4, 4))
    (found,) = CHECK.look(case_of(it, x, y))
    assert found.path == "last0"
    assert found.evidence["share_of_targets_outside"] == 0.5
    assert found.evidence["highest_target"] == 2


def test_log_probabilities_cannot_be_one() -> None:
    assert CHECK.look(case(ending(LogSoftmax()), loss=Quadratic()))


def test_a_softmax_over_one_output_is_found() -> None:
    x, y = corners(classes=2)
    it = Model(ending(Softmax(), units=1), Quadratic(), input_shape=(1, 4, 4))
    (found,) = CHECK.look(case_of(it, x, y))
    assert found.evidence["outputs"] == 1
    assert set(it.predict(x).flatten().tolist()) == {1.0}


@pytest.mark.parametrize(
    ("last", "loss"),
    [
        ((Sigmoid(),), Quadratic()),
        ((Tanh(),), Quadratic()),
        ((Softmax(),), Quadratic()),
        ((), Quadratic()),
        ((Sigmoid(),), L1()),
        ((), Huber()),
        ((), BinaryCrossEntropy()),
        ((), SoftmaxCrossEntropy()),
    ],
)
def test_classics_are_healthy(last: tuple[Layer, ...], loss: Loss) -> None:
    assert not CHECK.look(case(ending(*last), loss=loss))


def test_numbers_in_range_are_healthy() -> None:
    x, y = corners()
    it = Model(ending(Tanh(), units=1), Quadratic(), metrics=(), input_shape=(1, 4, 4))
    assert not CHECK.look(case_of(it, x, y.float()[:, None] / 4 - 0.4))
