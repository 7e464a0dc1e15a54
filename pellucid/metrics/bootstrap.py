"""Intervals of figures over examples: Wilson's of a fraction, and by bootstrap, of several models in pairs."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Z = 1.959963984540054  # the 0.975 quantile of the normal distribution, for intervals of 95 %


def wilson(count: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of the fraction `count` / `n`; (0, 1) for n = 0. Source: Wilson 1927."""
    if not n:
        return 0.0, 1.0
    fraction, weight = count / n, Z**2 / n
    centre = fraction + weight / 2
    half_width = math.sqrt(weight * (fraction * (1 - fraction) + weight / 4))
    return max(0.0, (centre - half_width) / (1 + weight)), min(1.0, (centre + half_width) / (1 + weight))


def resampled(
    figures: Callable[[Tensor], Sequence[float]], examples: int, resamples: int = 500, seed: int = 0
) -> Tensor:
    """Return the values of k figures (resamples, k), float64, on examples drawn with replacement.

    figures: a function of weights (examples,), the number of times that each example was drawn. All figures see the
    same draws, so that differences of columns are paired.
    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.
    """
    rng = torch.Generator().manual_seed(seed)
    values: list[Sequence[float]] = []
    for _ in range(resamples):
        drawn_indices = torch.randint(0, examples, (examples,), generator=rng)
        values.append(figures(torch.bincount(drawn_indices, minlength=examples)))
    return torch.tensor(values, dtype=torch.float64)


def percentile_intervals(values: Tensor, level: float = 0.95) -> list[tuple[float, float]]:
    """Return the interval (low, high) of each column of `resampled` values; NaN for a column of NaN.

    level: the confidence level.
    """
    quantiles = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = values.nanquantile(quantiles, 0).tolist()
    return list(zip(low, high, strict=True))


def weighted_mean(values: Tensor) -> Callable[[Tensor], float]:
    """Return the mean of values (examples,) as a function of the weights of the examples."""
    values = values.double()
    return lambda weights: float(weights.double() @ values / weights.sum())
