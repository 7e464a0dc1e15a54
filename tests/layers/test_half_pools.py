"""Pooling in half precision rounds once, compared with loops over the windows in float64."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.layers import AvgPool2d, LpPool2d, Mode

HALF_DTYPES = (torch.float16, torch.bfloat16)


def window_pixels(layer: AvgPool2d | LpPool2d, size: tuple[int, ...]) -> list[list[tuple[int, int]]]:
    """Return the pixels of each window over an image, row by row."""
    kernel, stride, dilation = layer.kernel, layer.stride, layer.dilation
    assert isinstance(kernel, int)
    assert isinstance(stride, int)
    assert isinstance(dilation, int)
    starts = [range(0, length - dilation * (kernel - 1), stride) for length in size]
    offsets = list(itertools.product(range(0, dilation * kernel, dilation), repeat=2))
    return [[(top + i, left + j) for i, j in offsets] for top, left in itertools.product(*starts)]


def pool_in_plain_python(layer: AvgPool2d | LpPool2d, x: Tensor, dy: Tensor) -> tuple[list[float], list[list[float]]]:
    """Return the mean or norm of each window of an image x (H, W), and dx for dy, computed by loops."""
    image, ys, dx = x.tolist(), [], torch.zeros_like(x).tolist()
    p = layer.p if isinstance(layer, LpPool2d) else None
    for pixels, output_gradient in zip(window_pixels(layer, x.shape), dy.flatten().tolist(), strict=True):
        values = [image[i][j] for i, j in pixels]
        y = sum(values) / len(values) if p is None else sum(abs(value) ** p for value in values) ** (1 / p)
        ys.append(y)
        for (i, j), value in zip(pixels, values, strict=True):
            fraction = 1 / len(values) if p is None else math.copysign((abs(value) / y) ** (p - 1), value)
            dx[i][j] += output_gradient * fraction
    return ys, dx


def assert_within_roundings(actual: Tensor, expected: Tensor, n_roundings: float) -> None:
    """Assert that errors are at most `n_roundings` roundings to the dtype, each at most half of its epsilon."""
    float_info = torch.finfo(actual.dtype)
    rtol, atol = 0.502 * n_roundings * float_info.eps, float_info.smallest_normal * float_info.eps
    torch.testing.assert_close(actual.double(), expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", HALF_DTYPES)
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_mean_of_the_largest_float16_values_is_finite(dtype: torch.dtype, dilation: int) -> None:
    x = torch.full((1, 2, 7, 7), 60000.0, dtype=dtype)
    y, _ = AvgPool2d(3, 1, dilation=dilation).forward({}, x, Mode())
    assert torch.equal(y, torch.full_like(y, x[0, 0, 0, 0].item()))


@pytest.mark.parametrize("dtype", HALF_DTYPES)
@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (AvgPool2d(3, 1, dilation=2), (9, 8)),
        (AvgPool2d(3, 2, dilation=3), (9, 11)),
        (AvgPool2d(17, 1, dilation=2), (35, 34)),  # 289 pixels, a number that bfloat16 cannot represent
        (LpPool2d(3, 3, 1, dilation=2), (9, 8)),
        (LpPool2d(3, 3, 2, dilation=3), (9, 11)),
        (LpPool2d(3, 3, 1), (9, 8)),
        (LpPool2d(17, 3, 1), (20, 19)),
    ],
    ids=repr,
)
def test_pooling_in_half_precision_rounds_once(layer: Any, size: tuple[int, int], dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(0)
    x = (300 * torch.randn(size, generator=rng)).to(dtype)  # their cubes exceed the range of float16
    y, cache = layer.forward({}, x[None, None], Mode())
    dy = (torch.rand(y.shape, generator=rng) + 1).to(dtype)
    dx, _ = layer.backward({}, cache, dy)
    ys, dxs = pool_in_plain_python(layer, x.double(), dy.double())
    assert y.dtype is dx.dtype is dtype
    assert_within_roundings(y.flatten(), torch.tensor(ys, dtype=torch.float64), n_roundings=1)
    # the gradient of a norm contains the rounded y to the power of 1 - p = -2
    assert_within_roundings(
        dx[0, 0], torch.tensor(dxs, dtype=torch.float64), n_roundings=1 if isinstance(layer, AvgPool2d) else 3
    )
