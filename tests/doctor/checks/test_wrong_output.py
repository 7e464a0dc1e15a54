"""What networks end in, by their loss and targets."""

import pytest
import torch

from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.doctor import case_of
from pellucid.doctor.checks.wrong_output import CHECK
from pellucid.layers import Add, Dense, Dropout, Flatten, Identity, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from pellucid.layers.base import Layer
from pellucid.losses import L1, AuxiliaryCrossEntropy, BinaryCrossEntropy, Huber, Loss, Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
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


def graph(*outputs: str, **nodes: tuple[object, ...]) -> Graph:
    return Graph({"flat": (Flatten(), "input"), "dense": (Dense(4), "flat"), **nodes}, outputs)


@pytest.mark.parametrize(
    ("net", "path"),
    [
        (graph("act", act=(Sigmoid(), "dense")), "act"),
        (graph("shape", act=(Sigmoid(), "dense"), shape=(Flatten(), "act")), "act"),
        (graph("drop", act=(Sigmoid(), "dense"), drop=(Dropout(0.0), "act")), "act"),
        (graph("head", head=(Sequential(top=Dense(4), act=ReLU()), "dense")), "head.act"),
        (Sequential(body=graph("act", act=(Tanh(), "dense")), same=Identity()), "body.act"),
        (
            Sequential(
                flatten=Flatten(),
                block=Parallel({"a": Dense(4), "b": Dense(4)}, Sequential(add=Add(), act=ReLU())),
            ),
            "block.merge.act",
        ),
    ],
)
def test_the_end_of_any_wiring_is_followed(net: Layer, path: str) -> None:
    (found,) = CHECK.look(case(net))
    assert found.path == path
    assert found.remedy is not None
    assert not CHECK.look(found.remedy.apply(case(net)))


@pytest.mark.parametrize("net", [graph("dense"), graph("sum", act=(ReLU(), "dense"), sum=(Add(), "act", "dense"))])
def test_graphs_that_end_in_free_values_are_healthy(net: Layer) -> None:
    assert not CHECK.look(case(net))


def test_every_output_is_looked_at() -> None:
    x, y = corners()
    heads = Fork(main=Dense(4), other=Sequential(dense=Dense(4), act=Softmax()))
    both = Fork(main=Dense(4), other=Dense(4))
    for net, paths in (
        (Sequential(flatten=Flatten(), heads=heads), ["heads.other.act"]),
        (Sequential(flatten=Flatten(), heads=both, each=Shared(ReLU())), ["each.layer"]),
        (graph("dense", "act", act=(Softmax(), "dense")), ["act"]),
        (Sequential(flatten=Flatten(), heads=both), []),
    ):
        it = Model(net, AuxiliaryCrossEntropy(), input_shape=(1, 4, 4))
        assert [one.path for one in CHECK.look(case_of(it, x, y))] == paths


def test_a_layer_that_a_graph_runs_elsewhere_too_is_not_taken_out() -> None:
    net = graph("end", act=(ReLU(), "dense"), top=(Dense(4), "act"), end=("act", "top"))
    (found,) = CHECK.look(case(net))
    assert (found.path, found.remedy) == ("act", None)


def test_log_probabilities_are_no_scores_of_sigmoids() -> None:
    (found,) = CHECK.look(case(ending(LogSoftmax()), loss=BinaryCrossEntropy()))
    assert (found.path, found.evidence["highest_output"]) == ("last0", 0)


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
