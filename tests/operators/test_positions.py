"""Positions, one-hot vectors, indices and the norm without a scale beside other functions of PyTorch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.layers import Mode
from pellucid.operators import Index, OneHot, Positions, UnscaledBatchNorm
from pellucid.operators.positions import SEARCHES

EXPECTED: dict[str, Callable[[Tensor], Tensor]] = {
    "argmax": lambda x: torch.max(x, 1, keepdim=True).indices,
    "argmin": lambda x: torch.min(x, 1, keepdim=True).indices,
    "max": lambda x: torch.argmax(x, 1, keepdim=True),
    "min": lambda x: torch.argmin(x, 1, keepdim=True),
    "median": lambda x: torch.argsort(x, 1)[:, 1:2],
    "kthvalue": lambda x: torch.argsort(x, 1)[:, 2:3],
    "largest": lambda x: torch.argsort(x, 1, descending=True)[:, :3],
    "smallest": lambda x: torch.argsort(x, 1)[:, :3],
    "ascending": lambda x: torch.argsort(x, 1),
    "descending": lambda x: torch.argsort(-x, 1),
    "cummax": lambda x: torch.stack([x[:, : k + 1].argmax(1) for k in range(4)], 1),
    "cummin": lambda x: torch.stack([x[:, : k + 1].argmin(1) for k in range(4)], 1),
}


@pytest.mark.parametrize("search", SEARCHES)
def test_positions_are_those_of_other_searches_and_have_no_gradient(search: str) -> None:
    x = torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(0))
    y, cache = Positions(search, 1, 3).forward({}, x, Mode())
    assert torch.equal(y, EXPECTED[search](x))
    assert Positions(search, 1).backward({}, cache, None) == (None, {})


def test_one_hot_marks_whole_numbers_of_any_dtype() -> None:
    y, cache = OneHot(4).forward({}, torch.tensor([[0.0, 3.0]]), Mode())
    assert torch.equal(y, torch.eye(4).long()[None, [0, 3]])
    assert OneHot(4).backward({}, cache, None) == (None, {})


def test_fractions_and_positions_outside_are_no_indices() -> None:
    table = torch.rand(4, 2)
    assert torch.equal(Index(0).forward({}, (table, torch.tensor([3.0, -1.0])), Mode())[0], table[[3, 3]])
    for wrong in (torch.tensor([0.5]), torch.tensor([4.0]), torch.tensor([-5.0])):
        with pytest.raises(PellucidError, match="indices must be whole numbers below 4"):
            Index(0).forward({}, (table, wrong), Mode())


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2, 5)])
def test_batch_norm_without_a_scale_is_pytorchs(shape: tuple[int, ...], train: bool) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    mean, variance = torch.rand(2, 3, dtype=torch.float64)
    params = {"running_mean": mean.clone(), "running_var": variance.clone()}
    layer = UnscaledBatchNorm()
    y, cache = layer.forward(params, x.detach(), Mode(train))
    expected = F.batch_norm(x, mean, variance, training=train)
    dy = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    dx, dparams = layer.backward({"running_mean": mean, "running_var": variance}, cache, dy)
    torch.testing.assert_close(y, expected.detach())
    torch.testing.assert_close(dx, torch.autograd.grad(expected, x, dy)[0])
    torch.testing.assert_close(params, {"running_mean": mean, "running_var": variance})
    assert dparams == {}
    assert layer.init(shape[1:], torch.Generator())[0].keys() == params.keys()
