"""Fréchet and kernel distances of features compared with closed forms and a double loop."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from pellucid.base.errors import PellucidError
from pellucid.metrics import frechet_distance, gaussian_distance, kernel_distance


def random_features(seed, n, d=5):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=rng, dtype=torch.float64) @ torch.randn(d, d, generator=rng).double() + seed


def test_distance_of_gaussians_equals_the_closed_form():
    """The closed form is |m1 - m2|^2 + sum (s1 - s2)^2, of the means m and standard deviations s of each axis."""
    m1, m2 = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.0, 1.0, 0.5])
    s1, s2 = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([3.0, 0.5, 0.7])
    expected = ((m1 - m2) ** 2 + (s1 - s2) ** 2).sum().item()
    assert gaussian_distance(m1, (s1**2).diag(), m2, (s2**2).diag()) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_equals_that_by_the_root_of_the_product():
    first, second = random_features(0, 40), random_features(1, 30)
    a, b = np.cov(first.numpy().T), np.cov(second.numpy().T)
    mean_distance = ((first.mean(0) - second.mean(0)) ** 2).sum().item()
    expected = mean_distance + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_fewer_examples_than_features_have_a_finite_distance():
    first, second = random_features(2, 4, 12), random_features(3, 4, 12)
    assert np.isfinite(frechet_distance(first, second))
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)


def test_the_distance_of_one_feature_equals_the_scalar_formula():
    first, second = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [10.0]])  # variances 2 and 32
    assert frechet_distance(first, second) == pytest.approx(16 + (32**0.5 - 2**0.5) ** 2)


def test_kernel_distance_equals_a_double_loop():
    first, second = random_features(0, 7), random_features(1, 6)

    def kernel(x, y):
        return (float(x @ y) / 5 + 1) ** 3

    within = [
        sum(kernel(x, y) for i, x in enumerate(sample) for j, y in enumerate(sample) if i != j)
        / (len(sample) * (len(sample) - 1))
        for sample in (first, second)
    ]
    between = sum(kernel(x, y) for x in first for y in second) / (len(first) * len(second))
    assert kernel_distance(first, second) == pytest.approx(sum(within) - 2 * between, rel=1e-9)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
@pytest.mark.parametrize(("first", "second"), [((3, 2), (3, 4)), ((1, 2), (3, 2)), ((3,), (3,))])
def test_features_of_different_shapes_are_refused(distance, first, second):
    with pytest.raises(PellucidError, match="features have shapes"):
        distance(torch.zeros(first), torch.zeros(second))
