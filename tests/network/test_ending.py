"""The last layers of a network must fit its loss and have one output for each class."""

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Parallel, Sequential
from pellucid.data import Dataset
from pellucid.layers import Add, Conv2d, Dense, Flatten, Identity, LogSoftmax, Reshape, Softmax, Tanh
from pellucid.losses import NegativeLogLikelihood, Quadratic
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.network.ending import check_classes
from pellucid.optim import SGD
from tests.training.small import digits


def three_classes() -> Dataset:
    x = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Dataset.from_arrays(x, torch.arange(12) % 3, ("ant", "bee", "cow"))


@pytest.mark.parametrize("net", [mlp((64, 8, 10)), mlp((64, 2)), mlp((64, 1))])
def test_another_number_of_outputs_than_classes_is_refused_before_training(net):
    model = Model(net)
    with pytest.raises(
        PellucidError, match=r"values?, but the data have 3 classes \(ant, bee, cow\); end the .*Dense\(3"
    ):
        model.fit(three_classes(), epochs=1, batch_size=4, verbose=False)
    assert not model.built
    assert model.classes is None
    built_model = Model(net, input_shape=(1, 8, 8))
    initial_hash = built_model.sha256()
    with pytest.raises(PellucidError, match="but the data have 3 classes"):
        built_model.fit(three_classes(), epochs=1, batch_size=4, verbose=False)
    assert built_model.sha256() == initial_hash


def test_classes_given_to_the_model_are_checked():
    with pytest.raises(PellucidError, match=r"outputs 3 values, but the data have 2 classes \(a, b\)"):
        Model(mlp((64, 3)), classes=["a", "b"]).fit(digits().x, digits().y % 2, epochs=1, batch_size=9, verbose=False)
    with pytest.raises(
        PellucidError, match=r"outputs 3 values, but the data have 12 classes \(0, 1, 2, 3, 4, \.\.\.\)"
    ):
        Model(mlp((64, 3)), classes=12, input_shape=(1, 8, 8))


def test_one_output_is_accepted_for_two_classes_and_regressions_need_no_classes():
    two_classes = Dataset.from_arrays(digits().x, digits().y % 2, ("even", "odd"))
    assert Model(mlp((64, 1)), Quadratic(), SGD(0.1)).fit(two_classes, epochs=1, batch_size=50, verbose=False)
    targets = torch.rand(300, 4)
    assert Model(mlp((64, 4)), Quadratic(), metrics=()).fit(digits().x, targets, epochs=1, batch_size=50, verbose=False)


def test_maps_need_a_channel_for_each_class_and_tuples_of_outputs_are_not_checked():
    maps, heads = Conv2d(3, 3), Fork(left=Dense(2), right=Dense(5))
    assert Model(maps, classes=3, input_shape=(1, 8, 8)).output_shape == (3, 6, 6)
    with pytest.raises(PellucidError, match="outputs 3 values, but the data have 4 classes"):
        Model(maps, classes=4, input_shape=(1, 8, 8))
    check_classes(((2,), (5,)), ("a", "b"))
    assert Model(heads, classes=3, input_shape=(4,)).built


@pytest.mark.parametrize(
    ("net", "layer_text"),
    [
        (mlp((64, 10)), "head.scores: Dense"),
        (mlp((64, 10), output="softmax"), "head.output: Softmax"),
        (Sequential(body=Sequential(dense=Dense(2), act=Tanh()), flatten=Flatten()), "body.act: Tanh"),
        (Dense(2), "the network: Dense"),
    ],
)
def test_logits_are_refused_for_the_loss_of_log_probabilities(net, layer_text):
    with pytest.raises(PellucidError, match=rf"^{layer_text} is followed by NegativeLogLikelihood, .*LogSoftmax"):
        Model(net, "nll")


@pytest.mark.parametrize(
    "net",
    [
        mlp((64, 10), output="log_softmax"),
        Sequential(dense=Dense(2), log=LogSoftmax(), flatten=Flatten(), same=Identity()),
        Sequential(dense=Dense(4), log=LogSoftmax(), shape=Reshape((2, 2))),
        LogSoftmax(),
        Parallel({"a": LogSoftmax(), "b": LogSoftmax()}, Add()),  # sums are not checked
        Graph({"a": (LogSoftmax(), "input"), "sum": (Add(), "a", "input")}, ("sum",)),
        Graph({"a": (LogSoftmax(), "input"), "same": (Identity(), "a")}, ("same",)),
    ],
)
def test_log_probabilities_and_merged_branches_are_accepted(net):
    assert Model(net, NegativeLogLikelihood()).net == net


def test_an_activation_that_the_loss_contains_is_refused_before_a_reshape_too():
    with pytest.raises(PellucidError, match=r"act: Softmax is followed by SoftmaxCrossEntropy, which contains it"):
        Model(Sequential(dense=Dense(2), act=Softmax(), flatten=Flatten()))


def test_an_activation_that_the_loss_contains_is_refused_at_the_end_of_a_graph_too():
    graph = Graph({"dense": (Dense(2), "input"), "act": (Softmax(), "dense"), "flat": (Flatten(), "act")}, ("flat",))
    with pytest.raises(PellucidError, match=r"^act: Softmax is followed by SoftmaxCrossEntropy, which contains it"):
        Model(graph)
    with pytest.raises(PellucidError, match=r"^body\.act: Softmax is followed by NegativeLogLikelihood"):
        Model(Sequential(body=graph), "nll")
    assert Model(graph, Quadratic()).net == graph


def test_log_softmax_with_its_loss_trains_as_softmax_cross_entropy():
    data, models = digits(), (Model(mlp((64, 10), output="log_softmax"), "nll"), Model(mlp((64, 10))))
    train_losses = [model.fit(data, epochs=2, batch_size=50, verbose=False)["train_loss"] for model in models]
    assert train_losses[0] == pytest.approx(train_losses[1], rel=1e-4)
    assert torch.allclose(models[0].predict(data), models[1].predict(data), atol=1e-4)
