"""Code that runs on Apple GPUs only, tested with CPU tensors whose device is "mps"."""

from typing import Any

import torch
from torch import Tensor

from pellucid.fuse.single_layers import FusedMaxPool2d
from pellucid.layers import MaxPool2d, Mode, Params
from tests.layers.samples import whole_numbers


class AppleTensor(Tensor):
    """A tensor on the CPU whose `device` is that of an Apple GPU."""

    @property
    def device(self) -> torch.device:
        return torch.device("mps")


def cache_and_dy(layer: Any) -> tuple[Any, Tensor]:
    """Return the cache of a pass with ties in overlapping windows, and a random dy."""
    x = whole_numbers((2, 3, 7, 5), torch.Generator().manual_seed(4))
    y, cache = layer.forward({}, x, Mode())
    return cache, torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def test_maxpool2d_adds_each_dy_at_its_switch() -> None:
    layer = MaxPool2d(3, stride=2, padding=1)
    cache, dy = cache_and_dy(layer)
    expected = torch.zeros(2, 3, 35, dtype=torch.float64)
    for n, c, i, j in torch.cartesian_prod(*map(torch.arange, dy.shape)).tolist():
        expected[n, c, cache.switches[n, c, i, j]] += dy[n, c, i, j]
    for device_dy in (dy, dy.as_subclass(AppleTensor)):
        dx, dparams = layer.backward({}, cache, device_dy)
        torch.testing.assert_close(dx.as_subclass(Tensor), expected.view(2, 3, 7, 5), rtol=1e-14, atol=1e-15)
        assert dparams == {}


class MarkedMaxPool2d(MaxPool2d):
    """A layer whose backward pass returns a marker instead of dx."""

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Any, Params]:
        return ("by the layer", cache, dy), params


def test_fused_maxpool2d_on_apple_gpus_calls_the_layer() -> None:
    layer = FusedMaxPool2d(MarkedMaxPool2d(2))
    cache, dy = cache_and_dy(layer)
    apple_dy = dy.as_subclass(AppleTensor)
    (origin, received_cache, received_dy), dparams = layer.backward({}, cache, apple_dy)
    assert (origin, dparams) == ("by the layer", {})
    assert received_cache is cache
    assert received_dy is apple_dy
    assert isinstance(layer.backward({}, cache, dy)[0], Tensor)
