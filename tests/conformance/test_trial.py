"""A trial fails on wrong values, shapes and dtypes, missing gradients, and overwritten inputs."""

import pytest
import torch
from torch import Tensor

from conformance.case import Mismatch, relative_error
from conformance.trial import layer_trial, run
from pellucid.layers import Mode, Params, ReLU

pytestmark = pytest.mark.slow


class WritesIntoX(ReLU):
    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, object]:
        return super().forward(params, x.clamp_(min=0), mode)


class WritesIntoDy(ReLU):
    def backward(self, params: Params, cache: tuple[Tensor], dy: Tensor) -> tuple[Tensor, Params]:
        return dy.mul_(cache[0] > 0), {}


class ForgetsWeight(ReLU):
    def backward(self, params: Params, cache: tuple[Tensor], dy: Tensor) -> tuple[Tensor, Params]:
        return super().backward(params, cache, dy)[0], {}


def test_a_correct_layer_passes() -> None:
    x = torch.linspace(-1, 1, 7)
    assert run(layer_trial(ReLU(), {}, x, x.relu)) == 0


@pytest.mark.parametrize(("layer", "message"), [(WritesIntoX(), "wrote into x"), (WritesIntoDy(), "wrote into dy")])
def test_a_layer_that_overwrites_its_input_fails(layer: ReLU, message: str) -> None:
    x = torch.linspace(-1, 1, 7)
    with pytest.raises(Mismatch, match=message):
        run(layer_trial(layer, {}, x, x.relu))


def test_a_missing_gradient_fails() -> None:
    x, weight = torch.linspace(-1, 1, 7), torch.ones(1)
    with pytest.raises(Mismatch, match=r"gradients for \['x'\] instead of \['weight', 'x'\]"):
        run(layer_trial(ForgetsWeight(), {"weight": weight}, x, lambda: x.relu() * weight))


@pytest.mark.parametrize(
    "actual",
    [
        torch.tensor([1.0, float("nan")]),
        torch.tensor([1.0, float("inf")]),
        torch.tensor([[1.0, 1e-4]]),
        torch.tensor([1.0, 1e-4], dtype=torch.float64),
    ],
)
def test_a_wrong_tensor_fails(actual: Tensor) -> None:
    with pytest.raises(Mismatch):
        relative_error("y", actual, torch.tensor([1.0, 1e-4]))


def test_errors_are_relative_to_the_largest_entry_and_equal_infinities_are_equal() -> None:
    infinite = torch.tensor([float("inf"), float("nan"), 4.0])
    assert relative_error("y", infinite, infinite) == 0
    assert relative_error("y", torch.tensor([4.0, 1.0001]), torch.tensor([4.0, 1.0])) == pytest.approx(2.5e-5, rel=1e-3)
    assert relative_error("dw", torch.tensor([1e-9]), torch.tensor([0.0]), floor=1e-2) == pytest.approx(1e-7)


def test_a_large_relative_error_of_a_small_entry_fails() -> None:
    assert relative_error("y", torch.tensor([1.0, 1.09e-4]), torch.tensor([1.0, 1e-4])) == float("inf")
    assert relative_error("y", torch.tensor([1.0, 1.0001e-4]), torch.tensor([1.0, 1e-4])) < 1e-7
