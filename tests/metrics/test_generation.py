"""Metrics of generated samples equal entropies by SciPy and Parzen windows by scikit-learn."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.neighbors import KernelDensity

from pellucid.base.errors import PellucidError
from pellucid.metrics.generation import BANDWIDTHS, log_densities, parzen, variety


def test_variety_equals_scipys_entropies() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(6, 0.3), 500)
    p[:, 5] /= 50  # class 5 is rarely predicted
    p /= p.sum(1, keepdims=True)
    scores = variety(torch.from_numpy(p))
    shares = np.bincount(p.argmax(1), minlength=6) / 500
    assert scores.shares == pytest.approx(shares)
    assert scores.covered == (shares >= 0.01).sum() == 5
    assert scores.entropy == pytest.approx(entropy(shares))
    assert scores.score == pytest.approx(math.exp(entropy(p, p.mean(0)[None], axis=1).mean()))
    assert scores.confidence == pytest.approx(p.max(1).mean())


def test_variety_is_smallest_for_collapsed_and_largest_for_even_samples() -> None:
    collapsed = torch.eye(10)[[3] * 40]
    assert (variety(collapsed).covered, variety(collapsed).entropy) == (1, 0)
    assert variety(collapsed).score == pytest.approx(1)
    even = torch.eye(10).repeat(4, 1)
    assert variety(even).covered == 10
    assert variety(even).entropy == pytest.approx(math.log(10))
    assert variety(even).score == pytest.approx(10)
    with pytest.raises(PellucidError, match="variety takes probabilities"):
        variety(torch.zeros(0, 10))


def test_log_densities_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    samples, points = rng.normal(size=(700, 4)), rng.normal(size=(9, 4))
    actual = log_densities(torch.from_numpy(points), torch.from_numpy(samples), [0.2, 0.7])
    for row, bandwidth in zip(actual, (0.2, 0.7), strict=True):
        expected = KernelDensity(bandwidth=bandwidth).fit(samples).score_samples(points)
        np.testing.assert_allclose(row, expected, rtol=1e-8)


def test_the_bandwidth_is_the_best_for_the_validation_images() -> None:
    rng = np.random.default_rng(2)
    samples, validation, test = (torch.from_numpy(rng.normal(size=(n, 1, 2, 2)) / 3) for n in (300, 50, 80))
    actual = parzen(samples, validation, test)
    flat = [images.flatten(1).numpy() for images in (samples, validation, test)]
    scores = [KernelDensity(bandwidth=s).fit(flat[0]).score(flat[1]) for s in BANDWIDTHS]
    assert actual.bandwidth == BANDWIDTHS[int(np.argmax(scores))]
    expected = KernelDensity(bandwidth=actual.bandwidth).fit(flat[0]).score_samples(flat[2])
    assert actual.mean == pytest.approx(expected.mean())
    assert actual.error == pytest.approx(expected.std(ddof=1) / math.sqrt(80))
    assert (actual.samples, actual.points, actual.chosen) == (300, 80, 50)
