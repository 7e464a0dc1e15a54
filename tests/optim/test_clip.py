"""Gradient clipping equals that of torch.nn.utils."""

import pytest
import torch
from torch import Tensor

from pellucid.optim import clip_by_norm, clip_by_value


def random_gradients() -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in ((4, 3), (7,), (2, 3, 3, 3))]


def as_parameters(tensors: list[Tensor]) -> list[Tensor]:
    params = [torch.zeros_like(tensor) for tensor in tensors]
    for param, tensor in zip(params, tensors, strict=True):
        param.grad = tensor
    return params


@pytest.mark.parametrize("limit", [0.1, 5.0, 1000.0])
def test_clipping_by_norm_equals_torch(limit: float) -> None:
    grads, torch_grads = random_gradients(), random_gradients()
    norm = clip_by_norm(grads, limit)
    expected = torch.nn.utils.clip_grad_norm_(as_parameters(torch_grads), limit)
    torch.testing.assert_close(norm, expected, rtol=1e-12, atol=0)
    for grad, torch_grad in zip(grads, torch_grads, strict=True):
        torch.testing.assert_close(grad, torch_grad, rtol=1e-12, atol=0)


def test_a_gradient_below_the_limit_is_unchanged() -> None:
    grads = random_gradients()
    clip_by_norm(grads, 1000.0)
    assert all(torch.equal(grad, before) for grad, before in zip(grads, random_gradients(), strict=True))


def test_clipping_by_value_equals_torch() -> None:
    grads, torch_grads = random_gradients(), random_gradients()
    clip_by_value(grads, 0.5)
    torch.nn.utils.clip_grad_value_(as_parameters(torch_grads), 0.5)
    assert all(torch.equal(grad, torch_grad) for grad, torch_grad in zip(grads, torch_grads, strict=True))
    assert max(grad.abs().max().item() for grad in grads) == 0.5


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e30])  # the square of 1e30 is beyond float32
def test_a_non_finite_norm_makes_all_gradients_nan(value: float) -> None:
    grads = [torch.ones(3), torch.ones(2, 2)]
    grads[0][1] = value
    assert not torch.isfinite(clip_by_norm(grads, 1.0))
    assert all(bool(grad.isnan().all()) for grad in grads)
