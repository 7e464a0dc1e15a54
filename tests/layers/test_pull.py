"""The way back to the input alone is that of the whole backward pass."""

import pytest
import torch

from pellucid.layers import Conv2d, ConvTranspose2d
from tests.layers.samples import SAMPLES
from tests.oracle import Sample, assert_close, cotangent


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_pull_is_the_dx_of_backward(sample: Sample) -> None:
    params, x = sample.inputs()
    y, cache = sample.layer.forward(params, x, sample.mode())
    dy = cotangent(y)
    dx, _ = sample.layer.backward(params, cache, dy)
    assert_close(sample.layer.pull(params, cache, dy), dx, 1e-12)


@pytest.mark.parametrize("layer", [Conv2d(64, 3, padding=1), ConvTranspose2d(64, 3, padding=1)], ids=str)
def test_pull_asks_the_kernel_for_nothing_else(
    layer: Conv2d | ConvTranspose2d, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, _ = layer.init((8, 4, 4), torch.Generator().manual_seed(0))
    _, cache = layer.forward(params, torch.randn(1, 8, 4, 4), None)  # type: ignore[arg-type]
    asked: list[tuple[bool, ...]] = []
    kernel = torch.ops.aten.convolution_backward

    def watched(*arguments: object) -> object:
        asked.append(arguments[-1])  # type: ignore[arg-type]
        return kernel(*arguments)

    monkeypatch.setattr(torch.ops.aten, "convolution_backward", watched)
    layer.pull(params, cache, torch.randn(1, 64, 4, 4))
    assert asked == [(True, False, False)]
