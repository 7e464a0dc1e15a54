"""`pull` returns the dx of `backward` without computing gradients of parameters."""

import pytest
import torch

from pellucid.layers import Conv2d, Dense, Layer, Mode, Params
from tests.cases import each_sample
from tests.layers.samples import SAMPLES
from tests.oracle import Sample, assert_close, cotangent


@each_sample(SAMPLES)
def test_pull_is_the_dx_of_backward(sample: Sample) -> None:
    params, x = sample.inputs()
    y, cache = sample.layer.forward(params, x, sample.mode())
    dy = cotangent(y)
    dx, _ = sample.layer.backward(params, cache, dy)
    assert_close(sample.layer.pull(params, cache, dy), dx, 1e-12)


@pytest.mark.parametrize("layer_type", [Dense, Conv2d], ids=lambda layer_type: layer_type.__name__)
def test_pull_of_a_subclass_uses_its_own_backward(layer_type: type[Layer]) -> None:
    class DoubledBackward(layer_type):  # type: ignore[valid-type, misc]
        def backward(self, params: Params, cache: object, dy: torch.Tensor) -> tuple[torch.Tensor, Params]:
            return super().backward(params, cache, 2 * dy)

    layer = DoubledBackward(3, 1) if layer_type is Conv2d else DoubledBackward(3)  # type: ignore[call-arg]
    params, _ = layer.init((2, 4, 4) if layer_type is Conv2d else (4,), torch.Generator().manual_seed(0))
    x = torch.randn(3, 2, 4, 4) if layer_type is Conv2d else torch.randn(3, 4)
    y, cache = layer.forward(params, x, Mode())
    dx, _ = layer.backward(params, cache, torch.ones_like(y))
    assert torch.equal(layer.pull(params, cache, torch.ones_like(y)), dx)
