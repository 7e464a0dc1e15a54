"""The switches of max pooling: the index of the first of equal maxima, and unpooling by the switches."""

import pytest
import torch

from pellucid.layers import MaxPool2d, MaxUnpool2d, Mode


def test_the_first_of_equal_maxima_in_reading_order_receives_the_gradient() -> None:
    x = torch.tensor([[[[5.0, 5.0, 1.0], [5.0, 5.0, 1.0], [1.0, 1.0, 1.0]]]])
    y, cache = MaxPool2d(2, stride=1).forward({}, x, Mode())
    assert y.flatten().tolist() == [5, 5, 5, 5]
    assert cache.switches.flatten().tolist() == [0, 1, 3, 4]
    dx, _ = MaxPool2d(2, stride=1).backward({}, cache, torch.ones(1, 1, 2, 2))
    assert dx.flatten().tolist() == [1, 1, 0, 1, 1, 0, 0, 0, 0]


def test_padding_is_never_the_maximum() -> None:
    x = torch.full((1, 1, 2, 2), -7.0)
    y, cache = MaxPool2d(2, padding=1).forward({}, x, Mode())
    assert y.flatten().tolist() == [-7] * 4
    assert cache.switches.flatten().tolist() == [0, 1, 2, 3]


def test_the_cache_keeps_no_copy_of_the_image() -> None:
    x = torch.randn(2, 3, 8, 8)
    _, cache = MaxPool2d(2).forward({}, x, Mode())
    assert cache.x.shape == x.shape
    assert cache.x.untyped_storage().nbytes() == x.element_size()


@pytest.mark.parametrize("size", [(6, 8), (7, 9)])
def test_unpooling_writes_every_maximum_to_its_position(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) + 1
    y, cache = MaxPool2d(2).forward({}, x, Mode())
    layer = MaxUnpool2d(2, size=size)
    unpooled, unpool_cache = layer.forward({}, (y, cache.switches), Mode())
    assert torch.equal(unpooled[unpooled != 0], x[unpooled != 0])
    assert (unpooled != 0).sum() == y.numel()
    pooled_again, _ = MaxPool2d(2).forward({}, unpooled, Mode())
    assert torch.equal(pooled_again, y)
    (dx, dswitches), _ = layer.backward({}, unpool_cache, x)
    assert torch.equal(dx, y)  # reading x at the switches gives its maxima
    assert dswitches is None


def test_unpooling_equals_the_backward_pass_of_pooling() -> None:
    """Without overlap, the backward pass of max pooling equals unpooling by its switches (Zeiler and Fergus 2014)."""
    x, dy = torch.randn(2, 3, 6, 6), torch.randn(2, 3, 3, 3)
    _, cache = MaxPool2d(2).forward({}, x, Mode())
    dx, _ = MaxPool2d(2).backward({}, cache, dy)
    assert torch.equal(MaxUnpool2d(2).forward({}, (dy, cache.switches), Mode())[0], dx)
