"""Last layers that do not fit the loss or the targets."""

import pytest
import torch

from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.doctor import case_of
from pellucid.doctor.checks.wrong_output import CHECK, OUTPUT_RANGES
from pellucid.layers import Add, Dense, Dropout, Flatten, Identity, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from pellucid.layers.base import Layer, Trait
from pellucid.losses import L1, AuxiliaryCrossEntropy, BinaryCrossEntropy, Huber, Loss, Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.rules.origins import WEIGHT_LAYERS
from tests.doctor.small_cases import corners, make_case
from tests.layers.elementwise import ELEMENTWISE


def net_ending_in(*last_layers: Layer, units: int = 4) -> Sequential:
    named = {f"last{index}": layer for index, layer in enumerate(last_layers)}
    return Sequential(flatten=Flatten(), dense=Dense(units), **named)


@pytest.mark.parametrize("layer", [ReLU(), Sigmoid(), Tanh(), LeakyReLU()])
def test_an_activation_before_the_softmax_of_the_loss_is_found(layer: Layer) -> None:
    (finding,) = CHECK.find(make_case(net_ending_in(layer)))
    assert (finding.check, finding.path) == ("wrong-output", "last0")
    assert finding.evidence["last_layer"] == type(layer).__name__
    assert finding.remedy is not None
    assert not CHECK.find(finding.remedy.apply(make_case(net_ending_in(layer))))


def test_an_activation_inside_nested_sequentials_has_its_whole_path() -> None:
    net = Sequential(flatten=Flatten(), head=Sequential(dense=Dense(4), relu=ReLU(), shape=Flatten()))
    assert [finding.path for finding in CHECK.find(make_case(net))] == ["head.relu"]


@pytest.mark.parametrize("layer_type", [kind for kind in ELEMENTWISE if kind.traits & Trait.ACTIVATION])
def test_the_range_of_an_activation_is_known(layer_type: type[Layer]) -> None:
    x = torch.cat([torch.linspace(-1e4, 1e4, 101), torch.linspace(-10, 10, 20_001)]).double()
    y = ELEMENTWISE[layer_type].reference(layer_type(), x)
    place = "OUTPUT_RANGES of pellucid/doctor/checks/wrong_output.py"
    assert layer_type in OUTPUT_RANGES, f"add {layer_type.__name__} to {place}"
    limits = OUTPUT_RANGES[layer_type]
    for limit, value in zip(limits, (y.min().item(), y.max().item()), strict=True):
        assert value == pytest.approx(limit, abs=0.005) if abs(value) < 90 else abs(limit) == float("inf"), place


def test_layers_that_output_weights_are_known_to_relevance_rules() -> None:
    fractions = {kind for kind, limits in OUTPUT_RANGES.items() if limits == (0.0, 1.0)}
    assert fractions == {*WEIGHT_LAYERS}, "change WEIGHT_LAYERS of pellucid/rules/origins.py, whose products are gates"


def make_graph(*outputs: str, **nodes: tuple[object, ...]) -> Graph:
    return Graph({"flat": (Flatten(), "input"), "dense": (Dense(4), "flat"), **nodes}, outputs)


@pytest.mark.parametrize(
    ("net", "path"),
    [
        (make_graph("act", act=(Sigmoid(), "dense")), "act"),
        (make_graph("shape", act=(Sigmoid(), "dense"), shape=(Flatten(), "act")), "act"),
        (make_graph("drop", act=(Sigmoid(), "dense"), drop=(Dropout(0.0), "act")), "act"),
        (make_graph("head", head=(Sequential(top=Dense(4), act=ReLU()), "dense")), "head.act"),
        (Sequential(body=make_graph("act", act=(Tanh(), "dense")), same=Identity()), "body.act"),
        (
            Sequential(
                flatten=Flatten(),
                block=Parallel({"a": Dense(4), "b": Dense(4)}, Sequential(add=Add(), act=ReLU())),
            ),
            "block.merge.act",
        ),
    ],
)
def test_the_last_activation_of_any_wiring_is_found(net: Layer, path: str) -> None:
    (finding,) = CHECK.find(make_case(net))
    assert finding.path == path
    assert finding.remedy is not None
    assert not CHECK.find(finding.remedy.apply(make_case(net)))


@pytest.mark.parametrize(
    "net", [make_graph("dense"), make_graph("sum", act=(ReLU(), "dense"), sum=(Add(), "act", "dense"))]
)
def test_graphs_without_a_last_activation_have_no_finding(net: Layer) -> None:
    assert not CHECK.find(make_case(net))


def test_every_output_is_examined() -> None:
    x, y = corners()
    heads = Fork(main=Dense(4), other=Sequential(dense=Dense(4), act=Softmax()))
    linear_heads = Fork(main=Dense(4), other=Dense(4))
    for net, paths in (
        (Sequential(flatten=Flatten(), heads=heads), ["heads.other.act"]),
        (Sequential(flatten=Flatten(), heads=linear_heads, each=Shared(ReLU())), ["each.layer"]),
        (make_graph("dense", "act", act=(Softmax(), "dense")), ["act"]),
        (Sequential(flatten=Flatten(), heads=linear_heads), []),
    ):
        model = Model(net, AuxiliaryCrossEntropy(), input_shape=(1, 4, 4))
        assert [finding.path for finding in CHECK.find(case_of(model, x, y))] == paths


def test_a_layer_that_a_graph_uses_twice_has_no_remedy() -> None:
    net = make_graph("end", act=(ReLU(), "dense"), top=(Dense(4), "act"), end=("act", "top"))
    (finding,) = CHECK.find(make_case(net))
    assert (finding.path, finding.remedy) == ("act", None)


def test_log_softmax_before_binary_cross_entropy_is_found() -> None:
    (finding,) = CHECK.find(make_case(net_ending_in(LogSoftmax()), loss=BinaryCrossEntropy()))
    assert (finding.path, finding.evidence["highest_output"]) == ("last0", 0)


def test_dropout_behind_the_last_layer_is_found() -> None:
    (finding,) = CHECK.find(make_case(net_ending_in(Dropout(0.5))))
    assert finding.path == "last0"
    assert not CHECK.find(make_case(net_ending_in(Dropout(0.0))))


def test_targets_that_a_sigmoid_cannot_reach_are_counted() -> None:
    x, _ = corners()
    y = torch.linspace(0, 2, 64)[:, None]  # half of them above 1
    model = Model(net_ending_in(Sigmoid(), units=1), Quadratic(), metrics=(), input_shape=(1, 4, 4))
    (finding,) = CHECK.find(case_of(model, x, y))
    assert finding.path == "last0"
    assert finding.evidence["share_of_targets_outside"] == 0.5
    assert finding.evidence["highest_target"] == 2


def test_log_softmax_before_a_quadratic_loss_is_found() -> None:
    assert CHECK.find(make_case(net_ending_in(LogSoftmax()), loss=Quadratic()))


def test_a_softmax_over_one_output_is_found() -> None:
    x, y = corners(classes=2)
    model = Model(net_ending_in(Softmax(), units=1), Quadratic(), input_shape=(1, 4, 4))
    (finding,) = CHECK.find(case_of(model, x, y))
    assert finding.evidence["outputs"] == 1
    assert set(model.predict(x).flatten().tolist()) == {1.0}


@pytest.mark.parametrize(
    ("last_layers", "loss"),
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
def test_usual_last_layers_have_no_finding(last_layers: tuple[Layer, ...], loss: Loss) -> None:
    assert not CHECK.find(make_case(net_ending_in(*last_layers), loss=loss))


def test_targets_in_the_range_of_tanh_have_no_finding() -> None:
    x, y = corners()
    model = Model(net_ending_in(Tanh(), units=1), Quadratic(), metrics=(), input_shape=(1, 4, 4))
    assert not CHECK.find(case_of(model, x, y.float()[:, None] / 4 - 0.4))


def test_several_labels_of_an_example_compete_in_a_softmax() -> None:
    x, y = corners()
    several = torch.nn.functional.one_hot(y, 4).float()
    several[::2, 0] = several[1::2, 3] = 1.0
    several /= several.sum(1, keepdim=True)
    (finding,) = CHECK.find(case_of(Model(net_ending_in(), input_shape=(1, 4, 4)), x, several))
    assert "compete" in finding.cause
    smoothed = 0.9 * several + 0.025
    assert not CHECK.find(case_of(Model(net_ending_in(), input_shape=(1, 4, 4)), x, smoothed))
