"""The step and the layer, loss or data in which NaN first occurs."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.nan_origin import CHECK
from pellucid.layers import BatchNorm, Dense, ReLU
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.losses import Loss
from pellucid.model import Model
from pellucid.optim import SGD
from pellucid.training.diagnose import StoppedError

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long()
NAN = float("nan")


def make_model(*middle: Layer, **options: Any) -> Model:
    return Model(Sequential(Dense(8), ReLU(), *middle, Dense(2)), classes=2, input_shape=(6,), **options)


@dataclass(frozen=True)
class Log(Layer):
    """A logarithm without a lower limit of its input."""

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Tensor]:
        return x.log(), x

    def backward(self, params: Params, cache: Tensor, dy: Tensor) -> tuple[Tensor, Params]:
        return dy / cache, {}


@dataclass(frozen=True)
class LogLoss(Loss):
    """-ln of an output that may be below 0."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return -y.log().sum(), -1 / y

    def check(self, outputs: Shape, targets: Tensor) -> None:
        return

    def predict(self, y: Tensor) -> Tensor:
        return y


def test_a_healthy_training_has_no_finding() -> None:
    assert not CHECK.find(case_of(make_model(), X, Y))


def test_a_nan_weight_after_training_is_found() -> None:
    broken = make_model()
    broken.weights["dense2.weight"][1, 3] = NAN
    findings = CHECK.find(case_of(broken, X, Y))
    assert [finding.path for finding in findings] == ["dense2.weight"]
    assert "1 of 16" in str(findings[0].evidence["found"])


def test_an_infinite_initial_weight_is_found_before_the_first_step() -> None:
    def begin() -> Model:
        broken = make_model()
        broken.weights["dense1.bias"][0] = float("inf")
        return broken

    finding = CHECK.find(case_of(begin(), X, Y, begin=begin))[0]
    assert (finding.path, finding.evidence["step"]) == ("dense1.bias", 0)


def test_a_layer_with_a_logarithm_of_0_is_named() -> None:
    finding = CHECK.find(case_of(make_model(Log()), X, Y))[0]
    assert (finding.path, finding.evidence["step"]) == ("log1", 1)
    assert "output y" in str(finding.evidence["found"])


def test_a_loss_with_a_logarithm_of_a_negative_output_is_named() -> None:
    finding = CHECK.find(case_of(make_model(loss=LogLoss(), metrics=()), X, Y))[0]
    assert (finding.path, finding.evidence["step"]) == ("loss", 1)


def test_a_regression_loss_is_infinite_for_large_targets() -> None:
    model = Model(Sequential(Dense(1)), "quadratic", metrics=(), input_shape=(6,))
    finding = CHECK.find(case_of(model, X, 1e25 * X[:, :1]))[0]
    assert finding.path == "loss"
    assert finding.cause == "the targets are very large"
    assert "standardise" in finding.fix


def test_an_augmentation_that_returns_nan_is_named() -> None:
    def augment(x: Tensor, rng: torch.Generator) -> Tensor:
        return x * NAN if bool((x[:, 0] == X[:, 0].max()).any()) else x  # the batch with this example

    case = case_of(make_model(), X, Y, batch_size=16, augment=augment)
    finding = CHECK.find(case)[0]
    assert finding.path == "train"
    assert finding.evidence["step"] == len(case.rehearsal.losses) + 1
    assert finding.is_fault


def test_the_step_is_read_from_the_error_that_stopped_the_training() -> None:
    case = diverged_case()
    finding = CHECK.find(case)[0]
    assert isinstance(case.stopped, StoppedError)
    assert finding.evidence["step"] == case.stopped.step > 1
    assert finding.path.split(".")[0] in {"dense1", "dense2", "relu1", "loss"}
    assert not finding.is_fault  # only a trial establishes why the values grew


def test_without_the_error_the_first_steps_are_rehearsed() -> None:
    case = replace(diverged_case(), stopped="")
    finding = CHECK.find(case)[0]
    assert 1 < int(finding.evidence["step"]) <= len(case.rehearsal.losses) + 1


def diverged_case() -> Case:
    """Return a regression at a learning rate at which it diverges."""

    def begin() -> Model:
        return Model(Sequential(Dense(8), ReLU(), Dense(1)), "quadratic", SGD(lr=50.0), (), input_shape=(6,))

    model = begin()
    with pytest.raises(PellucidError) as error:
        model.fit(X, X[:, :1], epochs=20, batch_size=16, verbose=False)
    return case_of(model, X, X[:, :1], batch_size=16, begin=begin, stopped=error.value)


def test_running_statistics_that_overflowed_in_training_are_a_symptom() -> None:
    net = Sequential(dense=Dense(4), norm=BatchNorm(), out=Dense(2))
    model = Model(net, optimizer=SGD(0.1), seed=3, input_shape=(6,))
    model.weights["norm.running_var"].fill_(torch.inf)
    (finding,) = CHECK.find(case_of(model, X, Y))
    assert (finding.path, finding.cause, finding.is_fault) == ("norm.running_var", "", False)
