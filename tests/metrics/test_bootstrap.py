"""Bootstrap intervals, compared with SciPy's."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from pellucid.metrics.bootstrap import percentile_intervals, resampled, weighted_mean


def is_right(probability: float, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(400) < probability)


def test_paired_intervals_are_scipys() -> None:
    first, second = is_right(0.9, 0), is_right(0.85, 1)
    figures = [weighted_mean(first), weighted_mean(second)]
    values = resampled(lambda weights: [figure(weights) for figure in figures], 400, resamples=4000)
    actual = [*percentile_intervals(values), *percentile_intervals(values[:, :1] - values[:, 1:])]
    a, b = (part.double().numpy() for part in (first, second))
    options = {"n_resamples": 4000, "vectorized": True, "method": "percentile", "rng": 0}
    for interval, data, statistic in (
        (actual[0], (a,), np.mean),
        (actual[1], (b,), np.mean),
        (actual[2], (a, b), lambda x, y, axis: x.mean(axis) - y.mean(axis)),
    ):
        expected = stats.bootstrap(data, statistic, paired=True, **options).confidence_interval
        assert interval == pytest.approx((expected.low, expected.high), abs=0.004)


def test_equal_models_do_not_differ() -> None:
    figure = weighted_mean(is_right(0.7, 0))
    values = resampled(lambda weights: [figure(weights), figure(weights)], 400, resamples=20)
    assert percentile_intervals(values[:, :1] - values[:, 1:]) == [(0.0, 0.0)]


def test_a_figure_that_is_never_defined_has_no_interval() -> None:
    (interval,) = percentile_intervals(torch.full((20, 1), math.nan, dtype=torch.float64))
    assert all(map(math.isnan, interval))
