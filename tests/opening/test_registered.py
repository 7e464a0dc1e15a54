"""User-defined layers for operators without a layer: the proposed class, its verification and its use."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.extend import registry
from pellucid.opening import missing
from pellucid.operators import TensorLayer
from tests.opening.test_opened import assert_equal_gradients, autograd_gradients, images


class InputCache(NamedTuple):
    x: Tensor


@dataclass(frozen=True)
class HyperbolicSine(TensorLayer):
    def forward(self, params: Any, x: Tensor, mode: Any) -> tuple[Tensor, InputCache]:
        return x.sinh(), InputCache(x)

    def backward(self, params: Any, cache: InputCache, dy: Tensor) -> tuple[Tensor, dict[str, Any]]:
        return dy * cache.x.cosh(), {}


@dataclass(frozen=True)
class WrongSlope(HyperbolicSine):
    def backward(self, params: Any, cache: InputCache, dy: Tensor) -> tuple[Tensor, dict[str, Any]]:
        return dy * cache.x.sinh(), {}


@dataclass(frozen=True)
class WrongValue(HyperbolicSine):
    def forward(self, params: Any, x: Tensor, mode: Any) -> tuple[Tensor, InputCache]:
        return x.sinh() + 1e-6, InputCache(x)


@dataclass(frozen=True)
class Logit(TensorLayer):
    eps: float = 0.5

    def forward(self, params: Any, x: Tensor, mode: Any) -> tuple[Tensor, InputCache]:
        limited = x.clamp(self.eps, 1 - self.eps)
        return (limited / (1 - limited)).log(), InputCache(x)

    def backward(self, params: Any, cache: InputCache, dy: Tensor) -> tuple[Tensor, dict[str, Any]]:
        x = cache.x
        return torch.where((x >= self.eps) & (x <= 1 - self.eps), dy / (x * (1 - x)), 0), {}


class Waves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sinh(torch.logit(x, 0.25)).sum((2, 3))


@pytest.fixture(autouse=True)
def restored_registries() -> Iterator[None]:
    """Remove registered layers after each test."""
    translations, registered_types = dict(missing.REGISTERED), dict(registry.REGISTERED)
    yield
    for registry_dict, saved_entries in ((missing.REGISTERED, translations), (registry.REGISTERED, registered_types)):
        registry_dict.clear()
        registry_dict.update(saved_entries)


def test_registered_layers_open_a_network_that_is_saved_and_loaded(tmp_path: Path) -> None:
    pellucid.register_op("aten.sinh", HyperbolicSine)
    pellucid.register_op("aten.logit", Logit, samples=[(torch.linspace(-0.9, 1.9, 24).double(), 0.25)])
    x = images(3)
    model = pellucid.open(Waves(), x)
    torch.testing.assert_close(model(x), Waves()(x), rtol=1e-12, atol=1e-12)
    dy = torch.randn(3, 3, dtype=torch.float64)
    assert_equal_gradients(model.gradients(x, dy), autograd_gradients(Waves(), x, dy))
    model.save(tmp_path / "waves.safetensors")
    assert torch.equal(pellucid.Model.load(tmp_path / "waves.safetensors")(x), model(x))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (WrongSlope, "the gradient of WrongSlope with respect to input 0 differs by"),
        (WrongValue, "the output of WrongValue differs by 1e-06"),
        (nn.ReLU, "is not a class of layers"),
    ],
)
@pytest.mark.slow
def test_layers_with_wrong_outputs_or_gradients_are_refused(layer: Any, message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        pellucid.register_op("aten.sinh", layer)
    with pytest.raises(PellucidError, match="no layer for 2 operators"):
        pellucid.open(Waves(), images(2))


@pytest.mark.parametrize(
    ("name", "message"),
    [("aten.nothing", "PyTorch has no operator"), ("relu", "has no operator"), ("aten.relu", "has a layer already")],
)
def test_operators_that_do_not_exist_or_have_a_layer_are_refused(name: str, message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        pellucid.register_op(name, HyperbolicSine)


def test_operators_with_required_arguments_need_samples() -> None:
    with pytest.raises(PellucidError, match=r"needs the argument 'dim'; give samples"):
        pellucid.register_op("aten.logcumsumexp", HyperbolicSine)


def test_the_class_proposed_in_the_error_works_once_its_gradient_is_filled_in() -> None:
    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sinh(x)

    with pytest.raises(PellucidError) as caught:
        pellucid.open(Inner(), images(2))
    code = caught.value.__notes__[0].partition("\n")[2].replace("dx = ...", "dx = dy * torch.cosh(cache.x)")
    exec(code, {"__name__": __name__})
    x = images(2)
    assert torch.equal(pellucid.open(Inner(), x)(x), torch.sinh(x))


@dataclass(frozen=True)
class HalfRight(TensorLayer):
    """The Bessel function I0 with a derivative that is correct only for positive numbers."""

    def forward(self, params: Any, x: Tensor, mode: Any) -> tuple[Tensor, InputCache]:
        return x.i0(), InputCache(x)

    def backward(self, params: Any, cache: InputCache, dy: Tensor) -> tuple[Tensor, dict[str, Any]]:
        return dy * torch.special.i1(cache.x.abs()), {}


def test_gradients_are_verified_below_0_too() -> None:
    with pytest.raises(PellucidError, match="the gradient of HalfRight with respect to input 0 differs"):
        pellucid.register_op("aten.i0", HalfRight)
