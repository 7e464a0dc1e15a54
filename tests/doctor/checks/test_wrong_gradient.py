"""User-defined backward passes that do not match their forward pass."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.wrong_gradient import CHECK
from pellucid.layers import Dense, Flatten
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.verify import verify
from pellucid.verify.table import GradientTable
from tests.doctor.small_cases import corners


@dataclass(frozen=True)
class Square(Layer):
    """y = x²; the backward pass computes dx = slope * x * dy, which is correct for a slope of 2."""

    slope: float = 2.0

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        return x * x, x

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        return self.slope * cache * dy, {}


@dataclass(frozen=True)
class NegatedGradient(SoftmaxCrossEntropy):
    """The cross-entropy with a gradient of the wrong sign."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        value, dy = super().compute(y, target)
        return value, -dy


def make_case(slope: float, **options: Any) -> Case:
    net = Sequential(flatten=Flatten(), dense1=Dense(6), square=Square(slope), dense2=Dense(4))
    return case_of(Model(net, input_shape=(1, 4, 4), **options), *corners())


def test_a_wrong_slope_is_named_with_its_layer() -> None:
    (finding,) = CHECK.find(make_case(1.0))
    assert (finding.check, finding.path, finding.evidence["layer"]) == ("wrong-gradient", "square", "Square")
    assert abs(finding.evidence["off_from_autograd"] - 0.5) < 1e-9  # the slope is half of the correct one


def test_a_correct_gradient_has_no_finding() -> None:
    assert not CHECK.find(make_case(2.0))


def test_a_layer_that_is_random_in_evaluation_has_no_finding() -> None:
    @dataclass(frozen=True)
    class Noisy(Square):
        def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
            mask = (torch.rand(x.shape) > 0.3).to(x.dtype)
            return x * mask, mask

        def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
            return dy * cache, {}

    net = Sequential(flatten=Flatten(), dense1=Dense(6), noisy=Noisy(), dense2=Dense(4))
    assert not CHECK.find(case_of(Model(net, input_shape=(1, 4, 4)), *corners()))


def test_a_wrong_loss_is_named() -> None:
    (finding,) = CHECK.find(make_case(2.0, loss=NegatedGradient()))
    assert finding.evidence["layer"] == "NegatedGradient"


def test_only_user_defined_parts_are_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []

    def recorded(net: Layer, *args: Any, **options: Any) -> GradientTable:
        verified.append(type(net).__name__)
        return verify(net, *args, **options)

    monkeypatch.setattr("pellucid.doctor.checks.wrong_gradient.verify", recorded)
    assert not CHECK.find(make_case(2.0))
    assert verified == ["Square", "Square"]  # in evaluation and in training mode


def test_parts_of_one_path_and_parts_that_cannot_be_verified_hide_no_other() -> None:
    @dataclass(frozen=True)
    class Float32(Square):
        def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
            if x.dtype is torch.float64:
                raise RuntimeError("float32 is needed")
            return super().forward(params, x, mode)

    for layer in (Square(), Float32()):
        net = Sequential(flatten=Flatten(), loss=layer, out=Dense(4))
        (finding,) = CHECK.find(case_of(Model(net, NegatedGradient(), input_shape=(1, 4, 4)), *corners()))
        assert (finding.path, finding.evidence["layer"]) == ("loss", "NegatedGradient")


@dataclass(frozen=True)
class Centred(Layer):
    """x minus the mean of the batch in training mode; the backward pass leaves out the mean unless `is_right`."""

    is_right: bool

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        return (x - x.mean(0) if mode.train else x), mode.train

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        return (dy - dy.mean(0) if cache and self.is_right else dy), {}


@pytest.mark.parametrize("is_right", [True, False])
def test_layers_are_verified_in_training_mode_too(is_right: bool) -> None:
    net = Sequential(flatten=Flatten(), hidden=Dense(6), centred=Centred(is_right), out=Dense(4))
    findings = CHECK.find(case_of(Model(net, input_shape=(1, 4, 4)), *corners()))
    assert [finding.path for finding in findings] == [] if is_right else ["centred"]


def test_layers_that_draw_from_another_generator_in_training_are_left_out() -> None:
    @dataclass(frozen=True)
    class OtherDraws(Square):
        def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
            return super().forward(params, x + torch.rand(()) * mode.train, mode)

    net = Sequential(flatten=Flatten(), hidden=Dense(6), draws=OtherDraws(), out=Dense(4))
    assert not CHECK.find(case_of(Model(net, input_shape=(1, 4, 4)), *corners()))
