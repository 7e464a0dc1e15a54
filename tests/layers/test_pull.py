"""`pull` returns the dx of `backward` without computing gradients of parameters."""

import pytest
import torch

from pellucid.layers import Conv2d, ConvTranspose2d, Dense, Layer, Mode, Params
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


@pytest.mark.parametrize("layer", [Conv2d(64, 3, padding=1), ConvTranspose2d(64, 3, padding=1)], ids=str)
def test_pull_requests_only_dx_from_the_kernel(
    layer: Conv2d | ConvTranspose2d, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, _ = layer.init((8, 4, 4), torch.Generator().manual_seed(0))
    _, cache = layer.forward(params, torch.randn(1, 8, 4, 4), None)  # type: ignore[arg-type]
    output_masks: list[tuple[bool, ...]] = []
    kernel = torch.ops.aten.convolution_backward

    def recording_kernel(*arguments: object) -> object:
        output_masks.append(arguments[-1])  # type: ignore[arg-type]
        return kernel(*arguments)

    monkeypatch.setattr(torch.ops.aten, "convolution_backward", recording_kernel)
    layer.pull(params, cache, torch.randn(1, 64, 4, 4))
    assert output_masks == [(True, False, False)]
