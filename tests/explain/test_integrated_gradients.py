"""Integrated gradients: completeness, and polynomials with known integrals."""

from typing import Any

import pytest
import torch
from scipy import special

from pellucid.base.errors import PellucidError
from pellucid.combine import Parallel, Sequential
from pellucid.explain import QUADRATURES, explain, integrated_gradients, scores
from pellucid.layers import Dense, Identity, Layer, Multiply
from tests.explain.networks import NETWORKS, network_and_batch
from tests.oracle import assert_close


@pytest.mark.parametrize("name", NETWORKS)
def test_integrated_gradients_sum_to_the_increase_of_the_score(name: str) -> None:
    net, params, x = network_and_batch(name)
    baseline = 0.1 * torch.ones_like(x)
    attribution = integrated_gradients(net, params, x, 1, baseline, steps=400)
    increase = scores(net, params, x, 1) - scores(net, params, baseline, 1)
    assert_close(attribution.flatten(1).sum(1), increase, 2e-3)


def power_network(factors: int) -> tuple[Layer, Any]:
    """Return a network that computes y = x1^factors + x2, and its parameters."""
    product = Parallel({f"factor{k}": Identity() for k in range(factors)}, Multiply())
    params = {"power": {**{f"factor{k}": {} for k in range(factors)}, "merge": {}}}
    return Sequential(power=product, sum=Dense(1, bias=False)), {**params, "sum": {"weight": torch.ones(1, 2).double()}}


X = torch.tensor([[2.0, -1.0], [0.5, 3.0]]).double()


@pytest.mark.parametrize("quadrature", QUADRATURES)
def test_every_quadrature_is_exact_for_its_polynomials(quadrature: str) -> None:
    """The integral of 3 a^2 x^3 da from 0 to 1 is x^3."""
    attribution = integrated_gradients(*power_network(3), X, 0, steps=10, quadrature=quadrature)
    positions = {
        "left": [k / 10 for k in range(10)],
        "middle": [(k + 0.5) / 10 for k in range(10)],
        "right": [(k + 1) / 10 for k in range(10)],
    }
    if quadrature in positions:
        factor = 3 * sum(a * a for a in positions[quadrature]) / 10
    elif quadrature == "trapezoid":
        factor = 3 * (sum((k / 9) ** 2 for k in range(1, 9)) + 0.5) / 9
    else:
        factor = 1.0
    assert_close(attribution, factor * X**3, 1e-12)


def test_gauss_legendre_is_exact_up_to_degree_2n_minus_1() -> None:
    assert_close(integrated_gradients(*power_network(4), X, 0, steps=2), X**4, 1e-12)
    error = integrated_gradients(*power_network(6), X, 0, steps=2) - X**6
    assert float(error.abs().max()) > 1e-3


def test_batch_size_does_not_change_the_result() -> None:
    net, params, x = network_and_batch("resnet", examples=3)
    expected = integrated_gradients(net, params, x, steps=7, batch=100)
    for batch in (1, 4, 6, 7):
        assert_close(integrated_gradients(net, params, x, steps=7, batch=batch), expected, 1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quadrature": "gauss"}, "must be one of .* not 'gauss'; did you mean 'gauss_legendre'"),
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"steps": 1, "quadrature": "trapezoid"}, "steps must be a whole number of at least 2"),
        ({"batch": 0}, "batch must be"),
        ({"baseline": torch.zeros(3, 6, 6)}, r"baseline must be .* to \(2, 2, 6, 6\), not a tensor \(3, 6, 6\)"),
        ({"baseline": torch.zeros(1, 2, 2, 6, 6)}, "not a tensor"),
        ({"baseline": "black"}, "broadcast to .* not 'black'"),
        ({"baseline": float("nan")}, "NaN or infinity"),
        ({"baseline": torch.full((6,), torch.inf)}, "NaN or infinity"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    net, params, x = network_and_batch("vgg")
    with pytest.raises(PellucidError, match=message):
        integrated_gradients(net, params, x, 0, **options)


def test_a_batch_without_examples_is_reported() -> None:
    net, params, x = network_and_batch("vgg")
    with pytest.raises(PellucidError, match="integrated_gradients: the batch is empty"):
        integrated_gradients(net, params, x[:0], 0)


@pytest.mark.parametrize("method", ["gradcam", "guided_backprop", "lrp", "input_x_gradient"])
def test_the_maps_of_any_method_are_averaged_on_the_path(method: str) -> None:
    """Each point of the path explained alone, with positions and weights of SciPy's."""
    net, params, x = network_and_batch("vgg")
    baseline = 0.1 * torch.ones_like(x)
    positions, weights = special.roots_sh_legendre(5)
    expected = sum(
        weight * explain(net, params, baseline + position * (x - baseline), method, 1)
        for position, weight in zip(positions.tolist(), weights.tolist(), strict=True)
    )
    actual = explain(net, params, x, "integrated_gradients", 1, of=method, baseline=baseline, steps=5, batch=4)
    assert_close(actual, expected, 1e-11)
