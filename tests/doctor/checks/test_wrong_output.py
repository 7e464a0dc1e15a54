"""Last layers that do not fit the loss or the targets."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.wrong_output import CHECK, OUTPUT_RANGES
from pellucid.doctor.examination import examine
from pellucid.doctor.suspects import layers, suspects
from pellucid.layers import (
    ELU,
    GELU,
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Identity,
    LeakyReLU,
    LogSoftmax,
    MaxPool2d,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
    Upsample,
)
from pellucid.layers.base import Layer, Trait
from pellucid.losses import L1, AuxiliaryCrossEntropy, BinaryCrossEntropy, Huber, Loss, Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.optim import Adam
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


POOLINGS: dict[str, tuple[Layer, ...]] = {
    "mean": (AdaptiveAvgPool2d(1), Flatten()),
    "maximum": (MaxPool2d(4), Flatten()),
    "two": (AvgPool2d(2, padding=1), Dropout(0.2), AdaptiveAvgPool2d(1), Flatten()),
    "resized": (Upsample(2, kind="bilinear"), AdaptiveAvgPool2d(1), Flatten()),
}


def pooled_case(end: Layer, loss: Loss, pooling: str = "mean", y: torch.Tensor | None = None) -> Case:
    """Return the case of corners, in which all weights are those before the first step."""
    x, labels = corners()
    net = Sequential(
        conv=Conv2d(4, 3, padding=1), end=end, **{f"last{k}": one for k, one in enumerate(POOLINGS[pooling])}
    )
    model = Model(net, loss, metrics=(), input_shape=(1, 4, 4))
    return case_of(model, x, labels if y is None else y, begin=lambda: model)


def several_labels() -> torch.Tensor:
    return (torch.rand(64, 4, generator=torch.Generator().manual_seed(0)) < 0.4).float()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(("end", "lowest"), [
    (ReLU(), 0), (ReLU6(), 0), (Sigmoid(), 0), (Tanh(), -1), (SiLU(), -0.28), (GELU(), -0.17), (ELU(), -1),
    (LogSoftmax(), None),
])  # fmt: skip
def test_an_activation_before_a_pooling_limits_the_probabilities_of_labels(
    pooling: str, end: Layer, lowest: float | None
) -> None:
    case = pooled_case(end, BinaryCrossEntropy(), pooling, several_labels())
    (finding,) = CHECK.find(case)
    assert (finding.path, finding.evidence["last_layer"]) == ("end", type(end).__name__)
    assert (f"none is below {1 / (1 + math.exp(-(lowest or 0))):.2g}" in finding.cause) is (lowest is not None)
    assert finding.remedy is not None
    assert not CHECK.find(finding.remedy.apply(case))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("end", [ReLU6(), Sigmoid(), Tanh()])
def test_an_activation_with_two_limits_before_a_pooling_limits_the_softmax(pooling: str, end: Layer) -> None:
    assert [one.path for one in CHECK.find(pooled_case(end, SoftmaxCrossEntropy(), pooling))] == ["end"]


@pytest.mark.parametrize(("end", "loss"), [
    (Identity(), BinaryCrossEntropy()), (LeakyReLU(), BinaryCrossEntropy()), (Identity(), SoftmaxCrossEntropy()),
    # a softmax can be certain without negative outputs, as in SqueezeNet
    (ReLU(), SoftmaxCrossEntropy()), (GELU(), SoftmaxCrossEntropy()), (LogSoftmax(), SoftmaxCrossEntropy()),
])  # fmt: skip
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_pooling_behind_logits_has_no_finding(end: Layer, loss: Loss, pooling: str) -> None:
    y = several_labels() if isinstance(loss, BinaryCrossEntropy) else None
    assert not CHECK.find(pooled_case(end, loss, pooling, y))


@pytest.mark.parametrize(("end", "low", "high", "is_found"), [
    (ReLU(), -1.0, 1.0, True), (ReLU(), 0.0, 9.0, False), (Sigmoid(), 0.0, 2.0, True), (Sigmoid(), 0.0, 1.0, False),
    (Tanh(), -1.0, 1.0, False), (Tanh(), -3.0, 3.0, True), (Identity(), -3.0, 3.0, False),
])  # fmt: skip
@pytest.mark.parametrize("loss", [Quadratic(), L1(), Huber()])
def test_targets_that_a_pooled_activation_cannot_reach_are_found(
    end: Layer, low: float, high: float, is_found: bool, loss: Loss
) -> None:
    case = pooled_case(end, loss, y=torch.linspace(low, high, 256).reshape(64, 4))
    assert [one.path for one in CHECK.find(case)] == ["end"] * is_found


@pytest.mark.parametrize(("kind", "end", "loss", "is_found"), [
    ("bilinear", ReLU(), BinaryCrossEntropy(), True), ("nearest", Tanh(), SoftmaxCrossEntropy(), True),
    ("bicubic", ReLU(), BinaryCrossEntropy(), False), ("bilinear", ReLU(), SoftmaxCrossEntropy(), False),
    ("bilinear", Identity(), BinaryCrossEntropy(), False),
])  # fmt: skip
def test_an_activation_before_resized_masks_is_found(kind: str, end: Layer, loss: Loss, is_found: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    net = Sequential(conv=Conv2d(3, 3, padding=1), end=end, resized=Upsample(2, kind=kind))
    masks = torch.randint(0, 3, (8, 8, 8), generator=rng)
    y = F.one_hot(masks, 3).movedim(3, 1).float() if isinstance(loss, BinaryCrossEntropy) else masks
    model = Model(net, loss, metrics=(), input_shape=(1, 4, 4))
    assert [one.path for one in CHECK.find(case_of(model, torch.rand(8, 1, 4, 4), y))] == ["end"] * is_found


@pytest.mark.parametrize("is_silent", [True, False])
@pytest.mark.parametrize("is_trained", [True, False])
@pytest.mark.parametrize("classes", [4, 3])
def test_classes_whose_outputs_a_relu_sets_to_0_are_found(is_silent: bool, is_trained: bool, classes: int) -> None:
    case = pooled_case(ReLU(), SoftmaxCrossEntropy(), y=corners(classes=classes)[1])
    model = case.begin() if is_trained else case.initial
    model.weights["conv.weight"].abs_()
    if is_silent:
        model.weights["conv.bias"][3] = -100.0
    first = pooled_case(ReLU(), SoftmaxCrossEntropy()).model if is_trained else model
    case = case_of(model, case.train.x, case.train.y, begin=lambda: first)
    found = CHECK.find(case)
    assert [one.evidence["silent_classes"] for one in found] == [1] * (is_silent and is_trained and classes == 4)


class Pooled(nn.Module):
    def __init__(
        self, end: Callable[[torch.Tensor], torch.Tensor], pool: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__()
        self.conv, self.end, self.pool = nn.Conv2d(1, 4, 3, padding=1), end, pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.end(self.conv(x)))


@pytest.mark.parametrize("pool", [
    lambda x: x.mean((2, 3)), lambda x: x.amax((2, 3)), lambda x: x.flatten(2).max(2).values,
    lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1), lambda x: F.adaptive_max_pool2d(x, 1)[:, :, 0, 0],
    lambda x: F.avg_pool2d(x, 4).squeeze(-1).squeeze(-1), lambda x: x.permute(0, 2, 3, 1).reshape(-1, 16, 4).mean(1),
    lambda x: F.interpolate(x, scale_factor=2, mode="bilinear").mean(3).mean(2),
])  # fmt: skip
def test_the_last_activation_of_pytorch_networks_is_found_behind_poolings(
    pool: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    x, y = corners()[0], several_labels()
    for end, is_found in (
        (torch.relu, True),
        (F.silu, True),
        (nn.ReLU(), True),
        (F.leaky_relu, False),
        (nn.Identity(), False),
    ):
        network = Pooled(end, pool)
        training = pellucid.from_torch(
            network, loss=nn.BCEWithLogitsLoss(), optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
            train=DataLoader(TensorDataset(x, y), 16),
        )  # fmt: skip
        assert len(CHECK.find(case_of(training.model, x, y))) == is_found


@pytest.mark.parametrize(("end", "loss", "n_suspects"), [
    (ReLU(), SoftmaxCrossEntropy(), 1), (Tanh(), SoftmaxCrossEntropy(), 1), (ReLU(), BinaryCrossEntropy(), 1),
    (LeakyReLU(), BinaryCrossEntropy(), 1), (Identity(), BinaryCrossEntropy(), 0), (Sigmoid(), Quadratic(), 0),
])  # fmt: skip
def test_a_last_activation_before_a_pooling_is_tried_once(end: Layer, loss: Loss, n_suspects: int) -> None:
    case = pooled_case(end, loss, y=None if isinstance(loss, SoftmaxCrossEntropy) else several_labels())
    keys = [
        one.remedy.key for one in suspects(case, examine(case, [CHECK]).findings) if one.finding.check == "wrong-output"
    ]
    assert keys == ["without-end"] * n_suspects


@pytest.mark.parametrize("end", [ReLU(), Identity()])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_last_convolution_before_a_pooling_is_no_narrow_inner_layer(end: Layer, pooling: str) -> None:
    case = pooled_case(end, SoftmaxCrossEntropy(), pooling)
    assert not list(layers.narrow_suspects(case))
    inner = Sequential(inner=Conv2d(2, 1), outer=case.model.net)
    (found,) = layers.narrow_suspects(case_of(Model(inner, input_shape=(1, 4, 4)), case.train.x, case.train.y))
    assert (found.finding.path, found.finding.evidence["layers"]) == ("inner", 1)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "maximum"])
def test_a_relu_before_a_pooling_is_proven_as_the_cause(pooling: str) -> None:
    rng = torch.Generator().manual_seed(0)
    y = (torch.rand(500, 4, generator=rng) < 0.4).float()
    x = torch.rand(500, 4, 4, 4, generator=rng) + 0.5 * y[:, :, None, None] * torch.rand(500, 4, 4, 4, generator=rng)
    net = Sequential(
        conv=Conv2d(16, 1), relu=ReLU(), last=Conv2d(4, 1), end=ReLU(), pool=Sequential(*POOLINGS[pooling])
    )
    model = Model(net, BinaryCrossEntropy(), Adam(1e-2), metrics=(), input_shape=(4, 4, 4))
    train, validation = (x[:300], y[:300]), (x[300:], y[300:])
    history = model.fit(*train, epochs=15, batch_size=32, verbose=False)
    diagnosis = model.doctor(*train, validation=validation, history=history, epochs=15, batch_size=32)
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("wrong-output", "cause")
    assert str(diagnosis).startswith("Remove ReLU after the last layer with weights: ")
