"""Spearman's rank correlation: whether two maps put the pixels into the same order."""

import torch
from torch import Tensor

from pellucid.errors import PellucidError


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return (N,): for each example, Spearman's correlation of two maps of one shape (N, ...), equal values sharing.

    1 is the same order, 0 none in common, -1 the reverse; NaN where a map is the same everywhere, and has no order.
    Raises PellucidError for maps of different shapes.
    """
    if a.shape != b.shape:
        raise PellucidError(f"maps of shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be compared pixel by pixel")
    pairs = [(ranks(one), ranks(other)) for one, other in zip(a.flatten(1), b.flatten(1), strict=True)]
    return torch.stack([_correlation(one, other) for one, other in pairs])


def ranks(values: Tensor) -> Tensor:
    """Return the rank of each of (n,) values from 0, in float64; equal values share the mean of their ranks."""
    _, which, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts + 1) / 2)[which]


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = a - a.mean(), b - b.mean()
    return (a @ b) / (a.norm() * b.norm())
