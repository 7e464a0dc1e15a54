"""`verify` of networks accepts correct gradients and names wrong ones."""

import json
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.layers import (
    Add,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Identity,
    Layer,
    MaxPool2d,
    MaxUnpool2d,
    Mode,
    Multiply,
    Params,
    ReLU,
    Sigmoid,
)
from pellucid.losses import Quadratic, SoftmaxCrossEntropy
from pellucid.verify import verify
from pellucid.verify.differences import choose_entries, difference
from pellucid.verify.table import GradientRow, GradientTable
from tests.cases import each_sample
from tests.layers.samples import SAMPLES
from tests.oracle import Sample
from tests.training.small import digits, small_mlp


def verify_network(net: Layer, shape: Any, mode: Mode | None = None, classes: int = 4, x: Any = None) -> GradientTable:
    rng = torch.Generator().manual_seed(5)
    params, _ = net.init(shape, rng)
    x = torch.rand(5, *shape, generator=rng) if x is None else x
    return verify(net, params, x, torch.randint(0, classes, (5,), generator=rng), SoftmaxCrossEntropy(), mode)


def find_row(table: GradientTable, path: str, what: str) -> GradientRow:
    return next(row for row in table.rows if (row.path, row.what) == (path, what))


def residual_network() -> Sequential:
    return Sequential(
        conv1=Conv2d(6, 3, padding=1),
        norm1=BatchNorm(),
        act1=ReLU(),
        pool1=MaxPool2d(2),
        block=Parallel((Identity(), Sequential(conv=Conv2d(6, 3, padding=1), act=ReLU())), Add()),
        drop=Dropout(0.3),
        flat=Flatten(),
        out=Dense(4),
    )


@pytest.mark.parametrize(
    "mode", [Mode(), Mode(train=True, rng=torch.Generator().manual_seed(3))], ids=["eval", "train"]
)
def test_every_gradient_of_a_residual_network_agrees_with_both_oracles(mode: Mode) -> None:
    table = verify_network(residual_network(), (2, 8, 8), mode)
    assert table.ok, str(table)
    assert table.culprit is None
    paths = {(row.path, row.what) for row in table.rows}
    assert {("input", "dx"), ("conv1", "weight"), ("conv1", "bias"), ("act1", "dx"), ("loss", "dy")} <= paths
    assert {("block.sequential1.conv", "weight"), ("block.merge", "dx"), ("norm1", "bias")} <= paths
    assert not any("running" in what for _, what in paths)
    for gradient_row in table.rows:
        assert gradient_row.autograd is not None
        assert gradient_row.autograd <= 1e-12
        assert gradient_row.checked + gradient_row.kinks == min(gradient_row.entries, 8)


def test_the_zero_gradient_of_a_bias_before_batch_normalization_passes() -> None:
    table = verify_network(residual_network(), (2, 8, 8), Mode(train=True, rng=torch.Generator().manual_seed(3)))
    bias = find_row(table, "conv1", "bias")
    assert bias.ok
    assert "zero" in bias.note
    assert bias.largest < 1e-12


@each_sample(SAMPLES)
def test_every_layer_can_be_followed_by_both_oracles(sample: Sample) -> None:
    params, x = sample.inputs(batch=3)
    y, _ = sample.layer.forward(params, x, sample.mode())
    target = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    table = verify(sample.layer, params, x, target, Quadratic(), sample.mode())
    assert table.ok, str(table)
    assert not any("central differences only" in row.note for row in table.rows)
    assert any(row.checked > 0 for row in table.rows)


@dataclass(frozen=True)
class WrongInput(Dense):
    """A Dense layer whose dx has the wrong sign."""

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        dx, dparams = super().backward(params, cache, dy)
        return -dx, dparams


@dataclass(frozen=True)
class WrongWeight(Dense):
    """A Dense layer with one wrong entry in its weight gradient, by a thousandth."""

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        dx, dparams = super().backward(params, cache, dy)
        dparams["weight"][0, 0] *= 1.001
        return dx, dparams


@dataclass(frozen=True)
class MissingBiasGradient(Dense):
    """A Dense layer that omits the gradient of its bias."""

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        dx, dparams = super().backward(params, cache, dy)
        return dx, {"weight": dparams["weight"]}


def test_a_sign_error_fails_in_both_oracles_and_is_named() -> None:
    net = Sequential(first=Dense(5), act=Sigmoid(), broken=WrongInput(5), act2=Sigmoid(), last=Dense(4))
    table = verify_network(net, (3,))
    assert not table.ok
    assert table.culprit == "broken (WrongInput, dx)"
    wrong = find_row(table, "broken", "dx")
    assert not wrong.ok
    assert wrong.autograd == pytest.approx(2)
    assert wrong.differences == pytest.approx(2)
    assert find_row(table, "last", "weight").ok
    assert find_row(table, "broken", "weight").ok
    assert not find_row(table, "first", "weight").ok  # layers below receive the wrong gradient
    assert "FAIL" in str(table)
    assert "going backward, the first is at broken (WrongInput, dx)" in str(table)


def test_a_sign_error_after_a_kink_is_found() -> None:
    net = Sequential(first=Dense(5), act=ReLU(), broken=WrongInput(5), act2=ReLU(), last=Dense(4))
    assert verify_network(net, (3,)).culprit == "broken (WrongInput, dx)"


def test_one_wrong_entry_fails_its_own_row_only() -> None:
    table = verify_network(Sequential(a=Dense(5), s=Sigmoid(), broken=WrongWeight(4)), (3,))
    assert [(row.path, row.what) for row in table.rows if not row.ok] == [("broken", "weight")]


def test_a_forgotten_gradient_fails() -> None:
    table = verify_network(Sequential(broken=MissingBiasGradient(4)), (3,))
    assert find_row(table, "broken", "bias").note == "no explicit gradient"
    assert not table.ok


@dataclass(frozen=True)
class NumPySquare(Layer):
    """Squares in NumPy, which autograd cannot follow; the backward pass is correct if `slope` is 2."""

    slope: float = 2.0

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        return torch.from_numpy(x.detach().numpy() ** 2), (x.detach(),)

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        return self.slope * cache[0] * dy, {}


def test_a_layer_that_autograd_cannot_follow_is_compared_with_differences_only_and_noted() -> None:
    net = Sequential(first=Dense(3), square=NumPySquare(), last=Dense(4))
    table = verify_network(net, (3,))
    assert table.ok
    square = find_row(table, "square", "dx")
    assert square.autograd is None
    assert square.note == "central differences only"
    assert find_row(table, "first", "weight").autograd is not None

    wrong = verify_network(Sequential(first=Dense(3), square=NumPySquare(slope=3.0), last=Dense(4)), (3,))
    assert wrong.culprit == "square (NumPySquare, dx)"


def test_shared_layers_forks_and_graphs_with_repeated_nodes_are_verified() -> None:
    siamese = Sequential(fork=Fork(a=Dense(3), b=Dense(3)), arm=Shared(Dense(4)), merge=Multiply())
    table = verify_network(siamese, (3,))
    assert table.ok, str(table)
    assert len([row for row in table.rows if row.path == "arm.layer" and row.what == "weight"]) == 1
    assert len([row for row in table.rows if row.path == "arm.layer" and row.what == "dx"]) == 2

    graph = Graph(
        {"d": (Dense(4), "x"), "again": ("d", "y"), "unread": (Dense(2), "x"), "sum": (Add(), "d", "again")},
        outputs=("sum",),
        inputs=("x", "y"),
    )
    rng = torch.Generator().manual_seed(0)
    params, _ = graph.init(((3,), (3,)), rng)
    x = (torch.randn(5, 3, generator=rng), torch.randn(5, 3, generator=rng))
    table = verify(graph, params, x, torch.tensor([0, 1, 2, 3, 0]), SoftmaxCrossEntropy())
    assert table.ok, str(table)
    assert find_row(table, "input", "dx").entries == 30
    assert not any(row.path == "unread" for row in table.rows)


def test_integer_inputs_have_no_gradient_and_need_none() -> None:
    net = Sequential(unpool=MaxUnpool2d(2), flat=Flatten(), out=Dense(4))
    rng = torch.Generator().manual_seed(0)
    params, _ = net.init(((1, 2, 2), (1, 2, 2)), rng)
    x = (torch.randn(2, 1, 2, 2, generator=rng), torch.tensor([[[[0, 3], [8, 11]]]]).expand(2, 1, 2, 2))
    table = verify(net, params, x, torch.tensor([0, 1]), SoftmaxCrossEntropy())
    assert table.ok, str(table)
    assert find_row(table, "unpool", "dx").entries == 8


def test_entries_at_a_kink_are_skipped_and_counted() -> None:
    net = Sequential(act=ReLU(), out=Dense(4))
    table = verify_network(net, (3,), x=torch.zeros(5, 3))
    act = find_row(table, "act", "dx")
    assert act.ok
    assert act.kinks > 0
    assert f"{act.kinks} on a kink" in act.note
    assert act.autograd == 0


def test_arguments_are_unchanged_and_inference_tensors_are_accepted() -> None:
    net = residual_network()
    with torch.inference_mode():
        rng = torch.Generator().manual_seed(2)
        params, _ = net.init((2, 8, 8), rng)
        before = {name: value.clone() for name, value in params["norm1"].items()}
        mode = Mode(train=True, rng=rng)
        state = rng.get_state()
        x = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
        table = verify(net, params, x, torch.tensor([0, 1, 2]), SoftmaxCrossEntropy(), mode)
    assert table.ok, str(table)
    assert all(torch.equal(before[name], value) for name, value in params["norm1"].items())
    assert torch.equal(rng.get_state(), state)


def test_the_table_is_aligned_text_and_plain_json() -> None:
    table = verify_network(Sequential(a=Dense(5), s=Sigmoid(), b=Dense(4)), (3,))
    lines = str(table).splitlines()
    assert lines[0].split()[:3] == ["path", "layer", "what"]
    verdicts = {line.index("ok") for line in lines[1 : len(table.rows) + 1]}
    assert verdicts == {lines[0].index("verdict")}
    assert lines[-1] == f"all {len(table.rows)} gradients agree"
    assert lines[-2] == ("tolerances: vs autograd 1e-09, vs differences 1e-05, of each one's largest entry, in float64")
    assert repr(table).splitlines()[-2:] == lines[-2:]  # not cut
    values = json.loads(json.dumps(table.to_json(), allow_nan=False))
    assert values["ok"] is True
    assert len(values["rows"]) == len(table.rows)


def test_a_loss_that_is_not_finite_is_refused() -> None:
    net = Sequential(out=Dense(4))
    with pytest.raises(PellucidError, match="the loss of this batch is nan"):
        verify_network(net, (3,), x=torch.full((5, 3), math.nan))
    with pytest.raises(PellucidError, match="samples is 1"):
        verify(
            net, net.init((3,), torch.Generator())[0], torch.ones(2, 3), torch.tensor([0, 1]), Quadratic(), samples=1
        )


def test_central_differences_distinguish_a_wrong_gradient_from_a_corner() -> None:
    x = torch.tensor([2.0, 0.0], dtype=torch.float64)

    def cube_and_corner() -> float:
        return float(x[0] ** 3 + x[1].abs())

    right = difference([x], 0, cube_and_corner, expected=12.0, scale=12.0, floor=0.0)
    assert right.agrees
    assert right.error < 1e-6
    wrong = difference([x], 0, cube_and_corner, expected=-12.0, scale=12.0, floor=0.0)
    assert not wrong.agrees
    assert not wrong.is_kink
    corner = difference([x], 1, cube_and_corner, expected=1.0, scale=12.0, floor=0.0)
    assert corner.is_kink
    assert x.tolist() == [2.0, 0.0]


def test_the_largest_entries_are_always_checked() -> None:
    gradient = torch.linspace(-1, 1, 101, dtype=torch.float64) ** 3
    indices = choose_entries(gradient, 8, torch.Generator().manual_seed(0))
    assert {0, 1, 99, 100} <= set(indices)
    assert len(set(indices)) == 8
    assert choose_entries(gradient[:5], 8, torch.Generator()) == [0, 1, 2, 3, 4]


def test_the_repr_of_a_verification_ends_with_its_whole_verdict():
    model, data = small_mlp(), digits(end=3)
    model.build((1, 8, 8))
    table = model.verify(data.x, data.y)
    assert repr(table).split("\n")[-1] == f"all {len(table.rows)} gradients agree"
    assert str(table).split("\n")[-2].endswith("vs written 1e-07, of each one's largest entry, in float64")
