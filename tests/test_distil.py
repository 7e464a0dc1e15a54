"""Distillation of the shipped backbone: its blocks, its loss, and the gradients of a chain of blocks."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.distil import Blocks, RelativeError, blocks_of
from pellucid.data import Batch
from pellucid.layers import Conv2d
from pellucid.layers.base import Mode
from pellucid.models import features, mobilenet_v2
from pellucid.nested import flatten

VARIANCE = torch.tensor([0.5, 2.0, 4.0], dtype=torch.float64)


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_loss_is_the_mean_squared_error_relative_to_each_channels_variance() -> None:
    y, target = random_tensor(2, 3, 4, 5).requires_grad_(), random_tensor(2, 3, 4, 5, seed=1)
    expected = (((y - target) ** 2).mean((0, 2, 3)) / VARIANCE).mean()
    expected.backward()
    value, dy = RelativeError(VARIANCE)(y.detach(), target)
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(dy, y.grad)


@pytest.mark.parametrize("chained", [False, True])
def test_gradients_of_the_sum_of_all_blocks_errors_are_those_of_autograd(chained: bool) -> None:
    losses = {name: RelativeError(VARIANCE) for name in ("first", "second")}
    blocks = Blocks({name: Conv2d(3, 3, padding=1, bias=False) for name in losses}, losses, chained)
    params = {name: {"weight": random_tensor(3, 3, 3, 3, seed=seed)} for seed, name in enumerate(losses)}
    x, targets = random_tensor(2, 3, 6, 6, seed=2), [random_tensor(2, 3, 6, 6, seed=seed) for seed in (3, 4)]
    values, dparams = blocks.gradients(params, Batch(x, targets), Mode(train=True))
    weights = [params[name]["weight"].clone().requires_grad_() for name in losses]
    first = F.conv2d(x, weights[0], padding=1)
    second = F.conv2d(first if chained else targets[0], weights[1], padding=1)
    errors = [
        (((y - target) ** 2).mean((0, 2, 3)) / VARIANCE).mean()
        for y, target in zip((first, second), targets, strict=True)
    ]
    torch.stack(errors).sum().backward()
    for name, weight, error in zip(losses, weights, errors, strict=True):
        torch.testing.assert_close(values[name], error.detach())
        torch.testing.assert_close(dparams[name]["weight"], weight.grad)


def test_the_blocks_of_mobilenet_have_all_its_parameters_and_compute_its_features() -> None:
    net = features(mobilenet_v2(width=0.25))
    params, _ = net.init((3, 64, 64), torch.Generator().manual_seed(0))
    blocks, block_params = blocks_of(net, params)
    assert len(blocks) == 18
    assert sorted(map(id, flatten(block_params).values())) == sorted(map(id, flatten(params).values()))
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    predictions = Blocks(blocks, {}, True).predict(block_params, images)
    torch.testing.assert_close(predictions, net.forward(params, images, Mode())[0])
