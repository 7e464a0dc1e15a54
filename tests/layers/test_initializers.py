"""Initial weights have the distribution given in the papers."""

import math

import pytest
import torch

from pellucid.layers import INITIALIZERS, Conv2d, ConvTranspose2d, Dense
from pellucid.layers.initializers import draw


@pytest.mark.parametrize(
    ("name", "deviation", "bound"),
    [
        ("zeros", 0.0, 0.0),
        ("normal", 1.0, None),
        ("scaled", math.sqrt(1 / 300), None),
        ("xavier", math.sqrt(2 / 500), math.sqrt(6 / 500)),
        ("he", math.sqrt(2 / 300), None),
        ("lecun", math.sqrt(1 / 300), math.sqrt(3 / 300)),
        ("gan", 0.02, None),
        ("orthogonal", math.sqrt(1 / 300), None),
    ],
)
def test_mean_deviation_and_bound_equal_the_formula(name: str, deviation: float, bound: float | None) -> None:
    weight = draw(name, (200, 300), 300, 200, torch.Generator().manual_seed(0))
    assert weight.dtype is torch.float32
    assert abs(weight.mean().item()) <= 5 * deviation / math.sqrt(weight.numel())
    assert weight.std().item() == pytest.approx(deviation, rel=0.02)
    if bound is not None:
        assert weight.abs().max().item() <= bound


def test_every_initializer_is_tested() -> None:
    assert set(INITIALIZERS) == {
        "zeros",
        "normal",
        "scaled",
        "xavier",
        "he",
        "lecun",
        "gan",
        "orthogonal",
        "dirac",
        "bilinear",
    }


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (8, 3, 2, 2)])
def test_orthogonal_weights_have_orthonormal_rows_or_columns(shape: tuple[int, ...]) -> None:
    weight = draw("orthogonal", shape, 1, 1, torch.Generator().manual_seed(0)).flatten(1).double()
    orthonormal = weight if weight.shape[0] <= weight.shape[1] else weight.T
    torch.testing.assert_close(orthonormal @ orthonormal.T, torch.eye(orthonormal.shape[0]).double(), atol=1e-5, rtol=0)


def test_initial_weights_depend_on_the_seed() -> None:
    first, second, other = (Dense(5).init((7,), torch.Generator().manual_seed(seed))[0]["weight"] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(Dense(400), (300,)), (Conv2d(64, 3), (32, 12, 12)), (ConvTranspose2d(32, 4, stride=2), (64, 8, 8))],
)
def test_he_initialization_doubles_the_second_moment_of_the_input(layer: Dense, shape: tuple[int, ...]) -> None:
    """A ReLU then halves the second moment, so it stays constant over layers (He et al. 2015, equation 9)."""
    rng = torch.Generator().manual_seed(0)
    params, _ = layer.init(shape, rng)
    x = torch.randn(8, *shape, generator=rng)
    y = layer.forward(params, x, None)[0]  # pyright: ignore[reportArgumentType]
    interior = y if y.dim() == 2 else y[:, :, 3:-3, 3:-3]
    assert interior.square().mean().item() == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (3, 5, 1, 3), (4, 4, 5, 5)])
def test_dirac_kernels_equal_pytorchs_and_copy_the_channels(shape: tuple[int, ...]) -> None:
    weight = draw("dirac", shape, math.prod(shape[1:]), shape[0], torch.Generator().manual_seed(0))
    n_copied = min(shape[:2])
    assert torch.equal(weight[:n_copied], torch.nn.init.dirac_(torch.empty(shape))[:n_copied])
    assert bool((weight[n_copied:] != 0).all())
    x = torch.randn(2, shape[1], 6, 6)
    y = torch.nn.functional.conv2d(x, weight, padding=(shape[2] // 2, shape[3] // 2))
    assert torch.equal(y[:, :n_copied], x[:, :n_copied])


def test_dirac_of_a_matrix_begins_with_the_identity() -> None:
    weight = draw("dirac", (5, 3), 3, 5, torch.Generator().manual_seed(0))
    assert torch.equal(weight[:3], torch.eye(3))


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("stride", [2, 4, 8])
def test_bilinear_kernels_of_even_size_equal_pytorchs_resizing(stride: int, groups: int) -> None:
    layer = ConvTranspose2d(
        3, 2 * stride, stride=stride, padding=stride // 2, groups=groups, bias=False, init_weight="bilinear"
    )
    rng = torch.Generator().manual_seed(0)
    params, _ = layer.init((3, 5, 4), rng)
    x = torch.randn(2, 3, 5, 4, generator=rng)
    y = layer.forward(params, x, None)[0]  # pyright: ignore[reportArgumentType]
    expected = torch.nn.functional.interpolate(x, scale_factor=stride, mode="bilinear")
    interior = (..., slice(stride, -stride), slice(stride, -stride))  # at the border, only one pixel contributes
    torch.testing.assert_close(y[interior], expected[interior], atol=1e-5, rtol=0)


@pytest.mark.parametrize("stride", [2, 3, 8])
def test_bilinear_kernels_of_odd_size_equal_pytorchs_resizing(stride: int) -> None:
    layer = ConvTranspose2d(
        3,
        2 * stride - 1,
        stride=stride,
        padding=stride - 1,
        output_padding=stride - 1,
        groups=3,
        bias=False,
        init_weight="bilinear",
    )
    rng = torch.Generator().manual_seed(0)
    params, out = layer.init((3, 5, 4), rng)
    assert out == (3, 5 * stride, 4 * stride)
    x = torch.randn(2, 3, 5, 4, generator=rng)
    y = layer.forward(params, x, None)[0]  # pyright: ignore[reportArgumentType]
    size = 4 * stride + 1, 3 * stride + 1  # from the first to the last original pixel
    expected = torch.nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(y[:, :, : size[0], : size[1]], expected, atol=1e-5, rtol=0)
