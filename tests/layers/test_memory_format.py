"""Outputs of channels-last images are channels last, so the next convolution does not copy them."""

import pytest
import torch

from pellucid import layers
from pellucid.layers import Layer, Mode
from tests.layers.elementwise import ELEMENTWISE


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2d(4, 3, padding=1),
        layers.ConvTranspose2d(4, 3),
        layers.MaxPool2d(2),
        layers.AvgPool2d(2),
        layers.AvgPool2d(3, stride=2, padding=1, dilation=2),
        layers.LpPool2d(2),
        layers.LpPool2d(2, dilation=2),
        layers.AdaptiveAvgPool2d((2, 3)),
        layers.Pad2d(1, kind="reflect"),
        layers.Pad2d(1, kind="replicate"),
        layers.Pad2d((1, -1, 2, 0), kind="circular"),
        layers.Pad2d((1, -1, 2, 0), kind="constant", value=1.0),
        layers.PadChannels(1, 2),
        layers.Upsample(2),
        layers.Upsample(1.5, kind="nearest-exact"),
        layers.Upsample(2, kind="bilinear"),
        layers.Upsample(0.5, kind="bilinear", antialias=True),
        *(layer for elementwise in ELEMENTWISE.values() for layer in elementwise.options),
        layers.Dropout(),
        layers.BatchNorm(),
        layers.GroupNorm(2),
        layers.InstanceNorm2d(),
    ],
    ids=lambda layer: type(layer).__name__,
)
@pytest.mark.parametrize("train", [False, True])
def test_channels_last_inputs_give_channels_last_outputs(layer: Layer, train: bool) -> None:
    params, _ = layer.init((4, 6, 8), torch.Generator())
    x = torch.randn(3, 4, 6, 8).contiguous(memory_format=torch.channels_last)
    mode = Mode(train=train, rng=torch.Generator())
    y, cache = layer.forward(params, x, mode)
    assert y.is_contiguous(memory_format=torch.channels_last)
    dx, _ = layer.backward(params, cache, torch.randn_like(y))
    assert dx.is_contiguous(memory_format=torch.channels_last)
