"""Where NaN comes from."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.nan_origin import CHECK
from pellucid.errors import PellucidError
from pellucid.layers import Dense, ReLU
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.losses import Loss
from pellucid.model import Model
from pellucid.optim import SGD
from pellucid.training.diagnose import StoppedError

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long()
NAN = float("nan")


def model(*middle: Layer, **options: Any) -> Model:
    return Model(Sequential(Dense(8), ReLU(), *middle, Dense(2)), classes=2, input_shape=(6,), **options)


@dataclass(frozen=True)
class Log(Layer):
    """A logarithm without protection."""

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


def test_a_healthy_training_has_none() -> None:
    assert not CHECK.look(case_of(model(), X, Y))


def test_a_weight_that_is_lost_after_training() -> None:
    broken = model()
    broken.weights["dense2.weight"][1, 3] = NAN
    found = CHECK.look(case_of(broken, X, Y))
    assert [one.path for one in found] == ["dense2.weight"]
    assert "1 of 16" in str(found[0].evidence["found"])


def test_a_weight_that_begins_so_is_found_before_the_first_step() -> None:
    def begin() -> Model:
        broken = model()
        broken.weights["dense1.bias"][0] = float("inf")
        return broken

    found = CHECK.look(case_of(begin(), X, Y, begin=begin))[0]
    assert (found.path, found.evidence["step"]) == ("dense1.bias", 0)


def test_a_layer_that_takes_the_logarithm_of_0() -> None:
    found = CHECK.look(case_of(model(Log()), X, Y))[0]
    assert (found.path, found.evidence["step"]) == ("log1", 1)
    assert "output y" in str(found.evidence["found"])


def test_a_loss_that_takes_the_logarithm_of_what_is_below_0() -> None:
    found = CHECK.look(case_of(model(loss=LogLoss(), metrics=()), X, Y))[0]
    assert (found.path, found.evidence["step"]) == ("loss", 1)


def test_a_loss_that_compares_numbers_takes_no_logarithm() -> None:
    it = Model(Sequential(Dense(1)), "quadratic", metrics=(), input_shape=(6,))
    found = CHECK.look(case_of(it, X, 1e25 * X[:, :1]))[0]
    assert found.path == "loss"
    assert found.cause == "the targets are very large"
    assert "standardise" in found.fix


def test_an_augmentation_that_breaks_one_batch() -> None:
    def augment(x: Tensor, rng: torch.Generator) -> Tensor:
        return x * NAN if bool((x[:, 0] == X[:, 0].max()).any()) else x  # the batch that holds this example

    case = case_of(model(), X, Y, batch_size=16, augment=augment)
    found = CHECK.look(case)[0]
    assert found.path == "train"
    assert found.evidence["step"] == len(case.rehearsal.losses) + 1
    assert found.direct


def test_what_stopped_the_training_is_read() -> None:
    case = run_away()
    found = CHECK.look(case)[0]
    assert isinstance(case.stopped, StoppedError)
    assert found.evidence["step"] == case.stopped.step > 1
    assert found.path.split(".")[0] in {"dense1", "dense2", "relu1", "loss"}
    assert not found.direct  # what made the numbers grow is for a trial to say


def test_without_the_error_the_first_steps_are_taken_again() -> None:
    case = replace(run_away(), stopped="")
    found = CHECK.look(case)[0]
    assert 1 < int(found.evidence["step"]) <= len(case.rehearsal.losses) + 1


def run_away() -> Case:
    """Return a regression at a learning rate at which it diverges."""

    def begin() -> Model:
        return Model(Sequential(Dense(8), ReLU(), Dense(1)), "quadratic", SGD(lr=50.0), (), input_shape=(6,))

    started = begin()
    with pytest.raises(PellucidError) as error:
        started.fit(X, X[:, :1], epochs=20, batch_size=16, verbose=False)
    return case_of(started, X, X[:, :1], batch_size=16, begin=begin, stopped=error.value)
