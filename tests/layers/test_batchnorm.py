"""Batch normalization updates its running statistics as PyTorch's module does."""

from typing import Any

import pytest
import torch

from pellucid.layers import BatchNorm, Mode


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5, 2)])
def test_running_statistics_follow_torch_over_several_batches(shape: tuple[int, ...]) -> None:
    layer = BatchNorm(momentum=0.3, epsilon=1e-3)
    params, _ = layer.init(shape[1:], torch.Generator())
    module: Any = (torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d)(3, eps=1e-3, momentum=0.3)
    rng = torch.Generator().manual_seed(0)
    for _ in range(4):
        x = 2 * torch.randn(shape, generator=rng) + 1
        y, _ = layer.forward(params, x, Mode(train=True))
        torch.testing.assert_close(y, module(x).detach())
    torch.testing.assert_close(params["running_mean"], module.running_mean)
    torch.testing.assert_close(params["running_var"], module.running_var)
    module.eval()
    torch.testing.assert_close(layer.forward(params, x, Mode())[0], module(x).detach())


def test_output_and_statistics_of_the_first_batch_equal_those_by_hand() -> None:
    layer = BatchNorm(momentum=0.1, epsilon=0.0)
    params, _ = layer.init((1,), torch.Generator())
    y, _ = layer.forward(params, torch.tensor([[1.0], [3.0]]), Mode(train=True))
    assert y.tolist() == [[-1.0], [1.0]]  # mean 2, variance 1
    assert params["running_mean"].item() == pytest.approx(0.2)  # 0.9 x 0 + 0.1 x 2
    assert params["running_var"].item() == pytest.approx(1.1)  # 0.9 x 1 + 0.1 x 2, the unbiased variance


def test_statistics_are_updated_in_place_and_in_training_only() -> None:
    layer = BatchNorm()
    params, _ = layer.init((2,), torch.Generator())
    mean, var = params["running_mean"], params["running_var"]
    layer.forward(params, torch.tensor([[1.0, 2.0], [3.0, 5.0]]), Mode())
    assert mean.tolist() == [0, 0]
    layer.forward(params, torch.tensor([[1.0, 2.0], [3.0, 5.0]]), Mode(train=True))
    assert params["running_mean"] is mean
    assert params["running_var"] is var
    assert mean.tolist() == pytest.approx([0.2, 0.35])


def test_a_bias_before_batch_norm_has_no_gradient() -> None:
    """dx sums to 0 over the batch, so the gradient of a preceding bias is exactly zero."""
    layer = BatchNorm()
    params, _ = layer.init((4, 3, 3), torch.Generator())
    rng = torch.Generator().manual_seed(0)
    x, dy = torch.randn(2, 5, 4, 3, 3, generator=rng, dtype=torch.float64)
    params = {name: value.double() for name, value in params.items()}
    _, cache = layer.forward(params, x, Mode(train=True))
    dx, _ = layer.backward(params, cache, dy)
    assert dx.sum((0, 2, 3)).abs().max() < 1e-12
    assert dx.abs().max() > 0.1


def test_buffers_are_the_running_statistics() -> None:
    assert BatchNorm.buffers == ("running_mean", "running_var")


@pytest.mark.parametrize("train", [False, True])
def test_the_gradient_of_a_part_of_a_concatenation_is_that_of_a_dense_one(train: bool) -> None:
    layer, rng = BatchNorm(), torch.Generator().manual_seed(0)
    params, _ = layer.init((3, 5, 4), rng)
    x, concatenated = (
        torch.randn(2, channels, 5, 4, generator=rng, dtype=torch.float64).to(memory_format=torch.channels_last)
        for channels in (3, 8)
    )
    params = {name: tensor.double() for name, tensor in params.items()}
    _, cache = layer.forward(params, x, Mode(train))
    part = concatenated[:, 4:7]
    dx, dparams = layer.backward(params, cache, part)
    expected_dx, expected = layer.backward(params, cache, part.contiguous())
    torch.testing.assert_close(dx, expected_dx, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(dparams, expected, rtol=1e-12, atol=1e-12)
    assert dx.is_contiguous(memory_format=torch.channels_last)
