"""At the kink of a function, the gradient is the documented one."""

import pytest
import torch

from pellucid.layers import ELU, LeakyReLU, LocalContrastNorm, LpPool2d, Mode, Multiply, ReLU, ReLU6
from pellucid.layers.base import Layer


@pytest.mark.parametrize(
    ("layer", "kink", "slope"),
    [
        (ReLU(), 0.0, 0.0),
        (ReLU(), -0.0, 0.0),
        (ReLU6(), 0.0, 0.0),
        (ReLU6(), 6.0, 0.0),
        (LeakyReLU(0.25), 0.0, 0.25),
        (ELU(0.5), 0.0, 0.5),
    ],
)
def test_gradient_at_a_kink_is_the_documented_slope(layer: Layer, kink: float, slope: float) -> None:
    _, cache = layer.forward({}, torch.tensor([[kink]]), Mode())
    dx, _ = layer.backward({}, cache, torch.tensor([[3.0]]))
    assert dx.item() == 3 * slope


def test_lp_pooling_of_a_window_of_zeros_has_gradient_zero() -> None:
    for p in (1.0, 2.0, 3.0):
        layer = LpPool2d(2, p=p)
        _, cache = layer.forward({}, torch.zeros(1, 1, 4, 4), Mode())
        dx, _ = layer.backward({}, cache, torch.ones(1, 1, 2, 2))
        assert torch.equal(dx, torch.zeros(1, 1, 4, 4))


def test_gradient_of_a_zero_factor_is_the_product_of_the_others() -> None:
    xs = torch.tensor([[0.0]]), torch.tensor([[2.0]]), torch.tensor([[5.0]])
    _, cache = Multiply().forward({}, xs, Mode())
    dx, _ = Multiply().backward({}, cache, torch.tensor([[1.0]]))
    assert [factor_gradient.item() for factor_gradient in dx] == [10, 0, 0]


def test_contrast_normalization_of_a_constant_image_is_zero() -> None:
    """The mean is subtracted, and the deviation of 0 causes no division by zero, also at the border."""
    layer = LocalContrastNorm(size=5)
    y, cache = layer.forward({}, torch.full((1, 2, 7, 6), 0.5, dtype=torch.float64), Mode())
    assert y.abs().max() < 1e-9
    dx, _ = layer.backward({}, cache, torch.ones_like(y))
    assert dx.isfinite().all()


def test_deviations_equal_to_their_mean_are_divided_by_themselves() -> None:
    """With a constant difference of two channels, every output is ±1 for any contrast, so dx is 0."""
    layer = LocalContrastNorm(size=1)
    grey = torch.tensor([[1.0, -2.0], [3.0, 0.5]], dtype=torch.float64)
    y, cache = layer.forward({}, torch.stack((grey + 2, grey - 2))[None], Mode())
    assert torch.equal(y[0, 0], torch.ones(2, 2, dtype=torch.float64))
    dx, _ = layer.backward({}, cache, torch.arange(8, dtype=torch.float64).view(1, 2, 2, 2) ** 2)
    assert dx.abs().max() < 1e-12
