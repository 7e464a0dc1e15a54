"""The maximum mean discrepancy equals double loops, autograd, and the closed form for Gaussians."""

import math

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.losses.mmd import mmd

BANDWIDTHS = (0.5, 2.0, 7.0)


def sample(count: int, seed: int, mean: float = 0.0, deviation: float = 1.0, size: int = 3) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return mean + deviation * torch.randn(count, size, generator=rng, dtype=torch.float64)


def kernel(a: Tensor, b: Tensor) -> float:
    return sum(math.exp(-float(((a - b) ** 2).sum()) / (2 * s)) for s in BANDWIDTHS)


def mean_kernel(a: Tensor, b: Tensor) -> float:
    return sum(kernel(one, other) for one in a for other in b) / (len(a) * len(b))


def test_mmd_equals_a_double_loop() -> None:
    x, y = sample(4, 0), sample(6, 1, mean=0.5)
    value, _ = mmd(x, y, BANDWIDTHS)
    expected = math.sqrt(mean_kernel(x, x) - 2 * mean_kernel(x, y) + mean_kernel(y, y))
    assert float(value) == pytest.approx(expected, rel=1e-10)


def test_the_gradient_equals_autograd() -> None:
    x, y = sample(5, 0).requires_grad_(), sample(7, 1, mean=0.5)

    def mean(a: Tensor, b: Tensor) -> Tensor:
        squares = ((a[:, None] - b[None]) ** 2).sum(2)
        return torch.stack([(-squares / (2 * s)).exp() for s in BANDWIDTHS]).sum(0).mean()

    (mean(x, x) - 2 * mean(x, y) + mean(y, y)).sqrt().backward()
    _, dx = mmd(x.detach(), y, BANDWIDTHS)
    assert x.grad is not None
    torch.testing.assert_close(dx, x.grad, rtol=1e-9, atol=1e-12)


def expected_kernel(distance: float, variance: float, size: int) -> float:
    """Return E k(a, b) if each coordinate of a - b has the distribution N(distance, variance)."""
    return sum(
        ((s / (s + variance)) ** 0.5 * math.exp(-(distance**2) / (2 * (s + variance)))) ** size for s in BANDWIDTHS
    )


@pytest.mark.parametrize(("mean", "deviation"), [(1.0, 1.0), (0.0, 2.0), (0.5, 0.7)])
def test_mmd_of_gaussians_equals_the_closed_form(mean: float, deviation: float) -> None:
    """The expectation of the biased estimate includes the terms with i = j, whose kernel is 1 for each bandwidth."""
    n, size = 1500, 2
    value, _ = mmd(sample(n, 0, size=size), sample(n, 1, mean, deviation, size), BANDWIDTHS)
    same, other = expected_kernel(0, 2.0, size), expected_kernel(0, 2 * deviation**2, size)
    squared = same + other - 2 * expected_kernel(mean, 1 + deviation**2, size)
    biased = squared + (2 * len(BANDWIDTHS) - same - other) / n
    assert float(value**2) == pytest.approx(biased, rel=0.1)


def test_mmd_and_gradient_of_equal_samples_are_zero() -> None:
    x = sample(5, 0)
    value, dx = mmd(x, x)
    assert float(value) < 1e-7
    assert bool(dx.isfinite().all())
    assert float(dx.abs().max()) < 1e-7


def test_samples_that_do_not_fit_are_refused() -> None:
    for x, y in ((sample(0, 0), sample(3, 1)), (sample(3, 0), sample(3, 1, size=2)), (sample(3, 0)[0], sample(3, 1))):
        with pytest.raises(PellucidError, match=r"mmd takes samples \(N, D\) and \(M, D\)"):
            mmd(x, y)
