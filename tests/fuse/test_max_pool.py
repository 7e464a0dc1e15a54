"""Max pooling by comparisons has the values and the gradients of PyTorch's kernel, for finite values bit by bit."""

import pytest
import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.fuse.inference import inference
from pellucid.fuse.single_layers import FusedMaxPool2d, PairsCache, is_faster_in_pairs, pool_pairs
from pellucid.layers import MaxPool2d, Mode

aten = torch.ops.aten


def images(shape: tuple[int, ...], dtype: torch.dtype, memory_format: torch.memory_format) -> Tensor:
    """Return images with few different values, so that many maxima are equal."""
    values = torch.randint(-3, 3, shape, generator=torch.Generator().manual_seed(0))
    return values.to(dtype).contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (3, 6, 28, 28), (2, 16, 10, 12), (2, 20, 4, 6)], ids=str)
def test_values_and_gradients_are_those_of_the_kernel(
    shape: tuple[int, ...], dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    x = images(shape, dtype, memory_format)
    window = [2, 2], [2, 2], [0, 0], [1, 1], False
    expected_y, switches = aten.max_pool2d_with_indices(x, *window)
    dy = torch.randn(expected_y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    expected_dx = aten.max_pool2d_with_indices_backward(dy, x, *window, switches)
    form = FusedMaxPool2d(MaxPool2d(2))
    y, cache = form.forward({}, x, Mode())
    dx, _ = form.backward({}, cache, dy)
    assert torch.equal(y, expected_y)
    assert torch.equal(dx, expected_dx)
    assert torch.equal(pool_pairs(x), expected_y)
    assert y.is_contiguous(memory_format=memory_format)
    assert dx.is_contiguous(memory_format=memory_format)
    assert isinstance(cache, PairsCache) == (shape[1] < 16 or memory_format is torch.contiguous_format)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (MaxPool2d(2), (5, 4)),
        (MaxPool2d(2), (4, 5)),
        (MaxPool2d(3), (6, 6)),
        (MaxPool2d(2, 1), (4, 4)),
        (MaxPool2d(2, padding=1), (4, 4)),
        (MaxPool2d(2, dilation=2), (4, 4)),
        (MaxPool2d((2, 1)), (4, 4)),
    ],
    ids=str,
)
def test_other_windows_and_odd_sizes_have_no_pairs(layer: MaxPool2d, size: tuple[int, int]) -> None:
    assert not is_faster_in_pairs(layer, torch.zeros(1, 3, *size))


def test_an_image_without_a_batch_axis_has_no_pairs() -> None:
    x = torch.rand(3, 4, 4)
    assert torch.equal(inference(Sequential(MaxPool2d(2)), {"maxpool2d1": {}})(x), aten.max_pool2d(x, 2))
