"""`Model.verify` checks the network as written, and its forms for training and for prediction."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pellucid import Model
from pellucid.combine import Parallel, Sequential
from pellucid.fuse import dense_block
from pellucid.fuse.activations import FusedActivation
from pellucid.fuse.combinators import FusedResidual
from pellucid.fuse.frozen import FrozenLayer, FrozenNorm
from pellucid.fuse.inference.runs import Affine, Convolution
from pellucid.fuse.recompute import NormActConv
from pellucid.fuse.single_layers import FusedConv2d, FusedDense, FusedMaxPool2d
from pellucid.layers import (
    Add,
    BatchNorm,
    Concat,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Identity,
    Layer,
    MaxPool2d,
    Mode,
    Params,
    ReLU,
    Sigmoid,
)
from pellucid.optim import SGD, Adam
from pellucid.optim.regularizers import L2
from pellucid.verify import forms
from pellucid.verify.forms import TrainingForm
from pellucid.verify.probe import Probe
from pellucid.verify.table import GradientRow, GradientTable
from tests.cases import mostly_heavy


def network() -> Sequential:
    """Return a network with many fused forms; `conv` is wide enough that its input is recomputed."""
    grown = Sequential(norm=BatchNorm(), act=ReLU(), conv=Conv2d(4, 1), act2=ReLU(), last=Conv2d(2, 3, padding=1))
    body = Sequential(conv=Conv2d(5, 3, padding=1), norm=BatchNorm())
    return Sequential(
        stem=Conv2d(3, 3), act0=ReLU(), pool=MaxPool2d(2),
        grown=Parallel({"skip": Identity(), "body": grown}, Concat()),
        block=Parallel({"skip": Identity(), "body": body}, Add()), act=ReLU(), norm=BatchNorm(), act3=ReLU(),
        conv=Conv2d(15, 3), flat=Flatten(), hidden=Dense(6), sigmoid=Sigmoid(), drop=Dropout(0.3), out=Dense(3),
    )  # fmt: skip


def make_model(net: Layer | None = None, optimizer: Any = None, **options: Any) -> Model:
    result = Model(net or network(), optimizer=optimizer or Adam(), input_shape=(1, 10, 10), metrics=(), **options)
    rng = torch.Generator().manual_seed(4)
    for path, value in result.weights.items():  # statistics other than 0 and 1, which have an effect
        if "running" in path:
            value.add_(0.1 * torch.rand(value.shape, generator=rng))
    return result


def verify_model(model: Model) -> GradientTable:
    rng = torch.Generator().manual_seed(0)
    return model.verify(torch.rand(6, 1, 10, 10, generator=rng), torch.randint(0, 3, (6,), generator=rng))


def rows_of(table: GradientTable, form: str) -> list[GradientRow]:
    return [row for row in table.rows if row.form == form]


def test_each_fused_form_has_its_rows() -> None:
    table = verify_model(make_model())
    assert table.ok, str(table)
    learned = {f"{row.path}.{row.what}" for row in rows_of(table, "training")}
    assert learned == {"output.y", *make_model().weights}
    assert all(row.written is not None for row in rows_of(table, "training"))
    gradient_rows = [
        row for row in rows_of(table, "training") if "running" not in row.what + row.path[:6] and row.path != "output"
    ]
    assert all(row.autograd is not None for row in gradient_rows)
    assert [row.what for row in rows_of(table, "predicting")] == ["y", "y (float32)"]
    text = str(table)
    assert "\n\nThe form for training, in training mode\npath" in text
    assert "\n\nThe form for prediction\npath" in text
    values = json.loads(json.dumps(table.to_json(), allow_nan=False))
    assert {row["form"] for row in values["rows"]} == {"written", "training", "predicting"}


def test_verification_leaves_the_network_unchanged() -> None:
    trained_model = make_model(optimizer=SGD())
    before = {path: value.clone() for path, value in trained_model.weights.items()}
    assert verify_model(trained_model).ok
    assert all(torch.equal(value, before[path]) for path, value in trained_model.weights.items())


def scaled_method(factor: float) -> Callable[[Any], Any]:
    """Return a decorator that multiplies the dx, or the output, of a method by `factor`."""

    def change(method: Any) -> Any:
        def broken_method(self: Any, *args: Any) -> Any:
            result = method(self, *args)
            if not isinstance(result, tuple):
                return factor * result
            return result if result[0] is None else (factor * result[0], *result[1:])

        return broken_method

    return change


TRAINING_METHODS = mostly_heavy(
    [
        (FusedConv2d, "backward"),
        (FusedDense, "backward"),
        (FusedMaxPool2d, "backward"),
        (FusedActivation, "backward"),
        (NormActConv, "backward"),
        (FusedResidual, "sweep"),
        (dense_block.DenseBlock, "sweep"),
        (FusedDense, "forward"),
        (NormActConv, "forward"),
    ],
    3,
)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [Adam(), SGD()], ids=["after the sweep", "in the sweep"])
@pytest.mark.parametrize(("form", "method"), TRAINING_METHODS, ids=lambda part: getattr(part, "__name__", part))
def test_an_error_in_the_form_for_training_is_found_there(
    form: type, method: str, optimizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, method, scaled_method(1.001)(vars(form)[method]))
    table = verify_model(make_model(optimizer=optimizer))
    assert all(row.ok for row in rows_of(table, "written"))
    assert all(row.ok for row in rows_of(table, "predicting"))
    assert not table.ok
    assert table.culprit is not None
    assert table.culprit.endswith("in the training form)")
    assert "FAIL" in str(table)


def wrong_at_zero(original: Any) -> Any:
    """Return a backward pass that is wrong only for inputs that are exactly 0, which shifted inputs never are."""

    def broken_method(self: FusedDense, params: Params, cache: Any, dy: Tensor) -> Any:
        dx, dparams = original(self, params, cache, dy)
        black = any(bool((part == 0).any()) for part in tensors_of(cache))
        return dx, {path: (2 * part if black else part) for path, part in dparams.items()}

    return broken_method


def tensors_of(cache: Any) -> list[Tensor]:
    if isinstance(cache, Tensor):
        return [cache]
    return [part for part in cache for part in tensors_of(part)] if isinstance(cache, tuple) else []


def black_images(net: Layer) -> tuple[Model, Tensor, Tensor]:
    """Return a model, images of which half of the pixels are exactly 0, and targets."""
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(6, 1, 10, 10, generator=rng)
    return make_model(net), torch.where(x < 0.5, 0.0, x), torch.randint(0, 3, (6,), generator=rng)


def test_a_form_that_is_wrong_only_at_exact_zeros_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    trained_model, x, y = black_images(Sequential(flat=Flatten(), out=Dense(3)))
    assert trained_model.verify(x, y).ok
    monkeypatch.setattr(FusedDense, "backward", wrong_at_zero(FusedDense.backward))
    table = trained_model.verify(x, y)
    assert {(row.path, row.what) for row in table.rows if not row.ok} == {("out", "weight"), ("out", "bias")}
    assert all(row.form == "training" for row in table.rows if not row.ok)


def test_outputs_and_running_statistics_that_differ_only_at_exact_zeros_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = forms.training_results

    def broken_method(probe: Probe, training: TrainingForm) -> dict[str, Tensor]:
        result = original(probe, training)
        if bool((probe.xs[0] == 0).any()):
            result = {
                path: part + 1 if path.startswith(("output.", "norm.running")) else part
                for path, part in result.items()
            }
        return result

    trained_model, x, y = black_images(Sequential(norm=BatchNorm(), flat=Flatten(), out=Dense(3)))
    monkeypatch.setattr(forms, "training_results", broken_method)
    wrong = {(row.path, row.what) for row in trained_model.verify(x, y).rows if not row.ok}
    assert wrong == {("output", "y"), ("norm", "running_mean"), ("norm", "running_var")}


def test_a_fused_form_may_choose_another_maximum_at_a_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    original = forms.training_results

    def other_side(probe: Probe, training: TrainingForm) -> dict[str, Tensor]:
        """Return the results with a gradient of a.bias for which the slope of the ReLU at 0 is 1."""
        result = original(probe, training)
        a, out = probe.params["a"], probe.params["out"]
        z = functional.linear(probe.xs[0].flatten(1), a["weight"], a["bias"])
        _, dy = probe.loss(functional.linear(torch.relu(z), out["weight"], out["bias"]), probe.target)
        return result | {"a.bias": ((dy @ out["weight"]) * (z >= 0)).sum(0)}

    trained_model, _, y = black_images(Sequential(flat=Flatten(), a=Dense(4), act=ReLU(), out=Dense(3)))
    monkeypatch.setattr(forms, "training_results", other_side)
    table = trained_model.verify(torch.zeros(6, 1, 10, 10), y)  # with biases 0, each unit is on the kink of its ReLU
    assert table.ok, str(table)
    assert [row.what for row in rows_of(table, "training") if row.note.startswith("on a kink")] == ["bias"]


@pytest.mark.slow
def test_a_wrong_update_in_the_backward_pass_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = FusedDense.backward

    def delayed_backward(self: FusedDense, params: Params, cache: Any, dy: Tensor) -> Any:
        _, dparams = original(self, params, cache, dy)
        return dy @ params["weight"], dparams  # the weight is already updated

    monkeypatch.setattr(FusedDense, "backward", delayed_backward)
    assert verify_model(make_model()).ok
    assert not verify_model(make_model(optimizer=SGD(), regularizer=L2(0.1))).ok


def test_running_statistics_that_differ_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_block, "update_running_statistics", lambda *args: None)
    wrong = {f"{row.path}.{row.what}" for row in verify_model(make_model()).rows if not row.ok}
    assert wrong == {"grown.body.norm.running_mean", "grown.body.norm.running_var"}


@pytest.mark.parametrize("run", [Convolution, Affine], ids=lambda part: part.__name__)
def test_an_error_in_the_form_for_prediction_is_found_there(run: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "__call__", scaled_method(1.001)(vars(run)["__call__"]))
    table = verify_model(make_model())
    assert {row.form for row in table.rows if not row.ok} == {"predicting"}
    assert table.culprit == "output (y (float32), in the predicting form)"


def test_an_error_in_float32_only_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Convolution.__call__

    def scaled_packed(self: Convolution, x: Tensor, other: Tensor | None = None) -> Tensor:
        return original(self, x, other) * (1.01 if self.is_packable else 1)

    monkeypatch.setattr(Convolution, "__call__", scaled_packed)
    assert [row.what for row in verify_model(make_model()).rows if not row.ok] == ["y (float32)"]


@pytest.mark.slow
def test_frozen_parts_train_as_in_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    trained_model = make_model(optimizer=SGD())
    trained_model.freeze("grown.*", "norm.*", "stem.*")
    table = verify_model(trained_model)
    assert table.ok, str(table)
    assert {f"{row.path}.{row.what}" for row in rows_of(table, "training")} == {
        "output.y", *(path for path in trained_model.weights if path.split(".")[0] not in ("grown", "norm", "stem")),
        *(path for path in trained_model.weights if "running" in path),
    }  # fmt: skip
    for kind in (FrozenLayer, FrozenNorm):
        with monkeypatch.context() as patch:
            patch.setattr(kind, "forward", scaled_method(1.01)(vars(kind)["forward"]))
            broken_method = make_model()
            broken_method.freeze("block.body.conv.*", "norm.*")
            assert not verify_model(broken_method).ok


def test_a_network_without_training_is_verified_for_prediction_only() -> None:
    net = Sequential(flat=Flatten(), a=Dense(3), norm=BatchNorm())
    trained_model = Model(net, input_shape=(1, 2, 2), metrics=())
    table = trained_model.verify(torch.rand(1, 1, 2, 2), torch.tensor([0]))
    assert table.ok
    assert table.notes[0].startswith("The form for training was not compared: BatchNorm")
    assert table.notes[0] in str(table)
    assert not rows_of(table, "training")


@dataclass(frozen=True)
class DoubledConv2d(Conv2d):
    """A convolution with twice the output, and the correct gradients."""

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        y, cache = super().forward(params, x, mode)
        return 2 * y, cache

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        return super().backward(params, cache, 2 * dy)


class DoubledSequential(Sequential):
    """A Sequential with twice the output, and the correct gradients."""

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        y, cache = super().forward(params, x, mode)
        return 2 * y, cache

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        return super().backward(params, cache, 2 * dy)


@pytest.mark.parametrize("optimizer", [Adam(), SGD()], ids=["after the sweep", "in the sweep"])
def test_a_users_subclasses_are_verified_trained_and_predicted_with_as_written(optimizer: Any) -> None:
    net = Sequential(
        conv=DoubledConv2d(3, 3), norm=BatchNorm(), act=ReLU(), row=DoubledSequential(conv=Conv2d(2, 3), act=ReLU()),
        flat=Flatten(), out=Dense(3),
    )  # fmt: skip
    trained_model = make_model(net, optimizer)
    table = verify_model(trained_model)
    assert table.ok, str(table)
    assert ("row", "conv.weight") in {(row.path, row.what) for row in rows_of(table, "written")}
    x = torch.rand(20, 1, 10, 10)
    y, _ = net.forward(trained_model.params, x, Mode())
    torch.testing.assert_close(trained_model.predict(x), torch.softmax(y, 1))
