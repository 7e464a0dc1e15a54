"""Regularizers: gradients equal automatic differentiation; decay and max-norm equal PyTorch's."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.optim.regularizers import (
    L1,
    L2,
    REGULARIZERS,
    ElasticNet,
    MaxNorm,
    Regularizer,
    add_penalties,
    shrink_weights,
)

N = 50
REGULARIZER_CASES = [L1(0.3), L2(5.0), ElasticNet(0.3, 2.0), L1(0.0), ElasticNet(0.0, 1.0)]
each_regularizer = pytest.mark.parametrize("regularizer", REGULARIZER_CASES, ids=repr)


def weights() -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in ((4, 3), (2, 3, 3, 3))]


@each_regularizer
def test_the_gradient_of_the_penalty_is_added(regularizer: Regularizer) -> None:
    leaves = [weight.requires_grad_() for weight in weights()]
    expected = torch.autograd.grad(regularizer.cost(leaves, N), leaves)
    grads = [torch.ones_like(weight) for weight in weights()]
    regularizer.add_gradient(weights(), grads, N)
    for grad, penalty_grad in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, 1 + penalty_grad, rtol=1e-12, atol=1e-14)


def test_penalties_equal_their_formulas() -> None:
    values = torch.cat([weight.flatten() for weight in weights()])
    assert L2(5.0).cost(weights(), N).item() == pytest.approx(5 / (2 * N) * (values**2).sum().item())
    assert L1(0.3).cost(weights(), N).item() == pytest.approx(0.3 / N * values.abs().sum().item())
    elastic_net = ElasticNet(0.3, 5.0).cost(weights(), N)
    assert elastic_net.item() == pytest.approx(L1(0.3).cost(weights(), N).item() + L2(5.0).cost(weights(), N).item())


def test_l1_has_gradient_zero_at_zero() -> None:
    grads = [torch.zeros(1, 2)]
    L1(1.0).add_gradient([torch.tensor([[0.0, -2.0]])], grads, 10)
    assert grads[0].tolist() == [[0.0, pytest.approx(-0.1)]]


def test_decoupled_l2_is_weight_decay() -> None:
    shrunk = weights()
    shrink_weights([L2(0.5, decoupled=True)], shrunk, lr=0.1)
    expected = weights()
    adamw = torch.optim.AdamW(expected, lr=0.1, weight_decay=0.5)
    for param in expected:
        param.grad = torch.zeros_like(param)
    adamw.step()
    for weight, expected_weight in zip(shrunk, expected, strict=True):
        torch.testing.assert_close(weight, expected_weight, rtol=1e-14, atol=0)


def test_decoupled_l1_is_the_soft_threshold_which_never_crosses_zero() -> None:
    shrunk = weights()
    shrink_weights([L1(2.0, decoupled=True)], shrunk, lr=0.25)
    for weight, before in zip(shrunk, weights(), strict=True):
        torch.testing.assert_close(weight, torch.nn.functional.softshrink(before, 0.5), rtol=1e-13, atol=1e-15)
    assert any((weight == 0).any() for weight in shrunk)


def test_decoupled_elastic_net_is_l1_followed_by_l2() -> None:
    shrunk, expected = weights(), weights()
    shrink_weights([ElasticNet(0.3, 0.2, decoupled=True)], shrunk, lr=0.25)
    for weight, before in zip(shrunk, expected, strict=True):
        expected_weight = torch.nn.functional.softshrink(before, 0.25 * 0.3) * (1 - 0.25 * 0.2)
        torch.testing.assert_close(weight, expected_weight, rtol=1e-13, atol=1e-15)


@each_regularizer
def test_a_coupled_penalty_changes_gradients_and_not_weights(regularizer: Regularizer) -> None:
    unchanged, grads, expected = weights(), weights(), weights()
    add_penalties([regularizer], unchanged, grads, N)
    shrink_weights([regularizer], unchanged, lr=0.1)
    regularizer.add_gradient(weights(), expected, N)
    assert all(torch.equal(a, b) for a, b in zip(unchanged, weights(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(grads, expected, strict=True))


def test_max_norm_equals_torch_renorm_over_units() -> None:
    limited = weights()
    MaxNorm(1.5).after_update(limited)
    for weight, before in zip(limited, weights(), strict=True):
        torch.testing.assert_close(weight, torch.renorm(before, 2, 0, 1.5), rtol=1e-6, atol=0)
        lengths = weight.flatten(1).norm(dim=1)
        assert lengths.max().item() <= 1.5 * (1 + 1e-12)
        below_limit = before.flatten(1).norm(dim=1) <= 1.5
        assert torch.equal(weight[below_limit], before[below_limit])


def test_max_norm_leaves_a_unit_of_zeros_unchanged() -> None:
    weight = torch.zeros(2, 3)
    MaxNorm(1.0).after_update([weight])
    assert not weight.any()


@pytest.mark.parametrize(
    "make",
    [lambda: L1(-1.0), lambda: L2(float("nan")), lambda: ElasticNet(1.0, -1.0), lambda: MaxNorm(0.0)],
)
def test_invalid_hyperparameters_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(PellucidError, match="must be a number"):
        make()


def test_regularizers_maps_names_to_classes() -> None:
    assert {"l1": L1, "l2": L2, "elastic_net": ElasticNet, "max_norm": MaxNorm} == REGULARIZERS
