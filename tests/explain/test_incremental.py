"""Outputs after a change in one square of the image, computed incrementally, against full forward passes."""

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.explain.incremental import IncrementalNetwork
from pellucid.layers import (
    GELU,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Flatten,
    Layer,
    LocalResponseNorm,
    LogSoftmax,
    MaxPool2d,
    Mode,
    ReLU,
    Softmax,
)
from tests.explain.networks import NETWORKS, SHAPE
from tests.oracle import assert_close, normal, randomized
from tests.references import reference_forward

STACKS: dict[str, Layer] = {
    "padded": Sequential(Conv2d(3, 3, padding=1), ReLU(), Conv2d(2, 3, padding=2), MaxPool2d(3, 2, 1), Conv2d(2, 3)),
    "strided": Sequential(
        Conv2d(4, 5, stride=3, padding=1), BatchNorm(), GELU(), LocalResponseNorm(3), AvgPool2d(2), Conv2d(2, (1, 2))
    ),
    "dilated": Sequential(Conv2d(2, 3, dilation=3), MaxPool2d(2, 3), Conv2d(2, 2, padding=1, groups=2)),
    "nested": Sequential(a=Sequential(Conv2d(2, 3), ReLU()), b=Sequential(MaxPool2d(2)), flat=Flatten(), out=Dense(3)),
    "stride over kernel": Sequential(Conv2d(2, 1, stride=4), MaxPool2d(2), Flatten(), Dense(2)),
    "softmax of channels": Sequential(Conv2d(3, 3), Softmax(), LogSoftmax(), Conv2d(2, 3), Flatten(), Dense(2)),
    "softmax of columns": Sequential(Conv2d(3, 3), Softmax(axis=2), Flatten(), Dense(2)),
    "softmax of rows": Sequential(Conv2d(3, 3), LogSoftmax(axis=3), Conv2d(2, 3), Flatten(), Dense(2)),
    "ceil": Sequential(Conv2d(2, 3), MaxPool2d(3, 2, ceil_mode=True), AvgPool2d(3, 2, 1), Flatten(), Dense(2)),
}


def compare_with_full_passes(net: Layer, shape: tuple[int, int, int], side: int) -> None:
    rng = torch.Generator().manual_seed(side)
    params = randomized(net.init(shape, rng)[0], rng)
    image, filled = normal(shape, rng), normal(shape, rng)
    height, width = shape[1:]
    corners = [(top, left) for top in range(0, height, 2) for left in range(0, width, 3)]
    squares = [(top, left, min(top + side, height), min(left + side, width)) for top, left in corners]
    variants = image.repeat(len(squares), 1, 1, 1)
    for k, (top, left, bottom, right) in enumerate(squares):
        variants[k, :, top:bottom, left:right] = filled[:, top:bottom, left:right]
    network = IncrementalNetwork(net, params, image, filled)
    result = torch.cat([network.run(part, side, 2) for part in torch.tensor(squares).split(5)])
    assert_close(result, reference_forward(net, params, variants, Mode()), 1e-11)


@pytest.mark.parametrize("side", [1, 4, 7])
@pytest.mark.parametrize("name", STACKS)
def test_incremental_outputs_equal_full_passes(name: str, side: int) -> None:
    compare_with_full_passes(STACKS[name], (2, 23, 26), side)


@pytest.mark.parametrize("name", NETWORKS)
def test_unsupported_networks_are_computed_in_full(name: str) -> None:
    compare_with_full_passes(NETWORKS[name], SHAPE, 2)
