"""A fused network in bfloat16 computes what its layers compute in float64, to the precision of bfloat16."""

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.fuse import fuse
from pellucid.layers import BatchNorm, Conv2d, Flatten, MaxPool2d, Mode, ReLU
from pellucid.sweep import backward
from tests.oracle import assert_close, autograd, cast, cotangent, leaves, randomized, tree_map

NET = Sequential(
    stem=Conv2d(4, 3), norm=BatchNorm(epsilon=0.5), act=ReLU(), conv=Conv2d(3, 3), pool=MaxPool2d(2), flat=Flatten()
)


@pytest.mark.parametrize("train", [True, False])
def test_normalized_activations_are_recomputed_in_bfloat16(train: bool) -> None:
    rng = torch.Generator().manual_seed(3)
    params = randomized(NET.init((2, 9, 9), rng)[0], rng)
    params["norm"]["running_var"] *= 3  # far from 1, so a wrong power of it changes the result
    params16 = {name: cast(part, torch.float32 if name == "norm" else torch.bfloat16) for name, part in params.items()}
    params = cast(params16, torch.float64)
    x = (3 * torch.randn(6, 2, 9, 9, generator=rng)).bfloat16()
    fused = fuse(NET)
    y, cache = fused.forward(tree_map(torch.clone, params16), x, Mode(train=train))
    assert y.dtype is torch.bfloat16
    dy = cotangent(y)
    expected_y, _, expected = autograd(NET, params, x.double(), Mode(train=train), dy.double())
    assert_close(y, expected_y, 0.02, "y")

    _, dparams = backward(fused, params16, cache, dy, consume=True)

    leaves_by_path = leaves(dparams)
    assert {path: leaf.dtype for path, leaf in leaves_by_path.items()} == {
        path: leaves(params16)[path].dtype for path in leaves_by_path
    }
    assert_close(leaves_by_path, expected, 0.05, "dparams")
