"""Upsampling by a scale, also one that leaves the length of an axis unchanged: the weights of the input rows."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers import Mode, Upsample

KINDS = ("nearest", "nearest-exact", "bilinear", "bicubic")
# (length, scale) with floor(length x scale) = length
UNCHANGED_SIZES = [(2, 1.4), (3, 1.25), (3, 1.3), (4, 1.2), (7, 1.1)]


def forward_weights(layer: Upsample, length: int) -> Tensor:
    """Return the weight of each of `length` input rows in each output row, (output rows, length)."""
    images = torch.eye(length, dtype=torch.float64)[:, None, :, None]  # (length, 1, length, 1)
    y, _ = layer.forward({}, images, Mode())
    return y[:, 0, :, 0].T


def backward_weights(layer: Upsample, length: int) -> Tensor:
    """Return the weights of `forward_weights` as computed by the backward pass."""
    rows = len(forward_weights(layer, length))
    _, cache = layer.forward({}, torch.zeros(rows, 1, length, 1, dtype=torch.float64), Mode())
    dx, _ = layer.backward({}, cache, torch.eye(rows, dtype=torch.float64)[:, None, :, None])
    return dx[:, 0, :, 0]


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("length", "scale"), [*UNCHANGED_SIZES, (3, 2.2), (5, 0.5), (4, 2)])
def test_backward_uses_the_weights_of_the_forward_pass(kind: str, antialias: bool, length: int, scale: float) -> None:
    layer = Upsample((scale, 1), kind=kind, antialias=antialias and kind in ("bilinear", "bicubic"))
    torch.testing.assert_close(backward_weights(layer, length), forward_weights(layer, length), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("kind", "align_corners", "antialias"),
    [
        ("nearest", False, False),
        ("bilinear", False, False),
        ("bilinear", True, False),
        ("bilinear", False, True),
        ("bicubic", True, False),
        ("bicubic", False, True),
    ],
)
@pytest.mark.parametrize(("length", "scale"), UNCHANGED_SIZES)
def test_an_axis_of_unchanged_size_is_copied(
    kind: str, align_corners: bool, antialias: bool, length: int, scale: float
) -> None:
    layer = Upsample((scale, 1), kind=kind, align_corners=align_corners, antialias=antialias)
    torch.testing.assert_close(
        forward_weights(layer, length), torch.eye(length, dtype=torch.float64), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize(("length", "scale"), UNCHANGED_SIZES)
def test_nearest_exact_uses_the_given_scale(length: int, scale: float) -> None:
    expected_rows = [math.floor((i + 0.5) / scale) for i in range(length)]
    assert forward_weights(Upsample((scale, 1), kind="nearest-exact"), length).argmax(1).tolist() == expected_rows


@pytest.mark.parametrize("scale", [2.0, 2.1, 2.3])
def test_nearest_repeats_each_pixel_where_the_size_doubles(scale: float) -> None:
    assert forward_weights(Upsample((scale, 1)), 3).argmax(1).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(("length", "scale"), UNCHANGED_SIZES)
@pytest.mark.parametrize("width_scale", [1.0, 1.1, 0.5, 2.0])
def test_bicubic_uses_the_given_scale_as_pytorch_does(length: int, scale: float, width_scale: float) -> None:
    x = torch.randn(2, 3, length, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, _ = Upsample((scale, width_scale), kind="bicubic").forward({}, x, Mode())
    torch.testing.assert_close(
        y, F.interpolate(x, scale_factor=(scale, width_scale), mode="bicubic"), rtol=0, atol=1e-13
    )
    assert (y[..., 0] - x[..., 0]).abs().max() > 0.01  # the axis is not copied
