"""Distances between two sets of images, computed from their features (n, d)."""

import torch
from torch import Tensor

from pellucid.errors import PellucidError


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return the squared Frechet distance between Gaussians fitted to features (n, d) and (m, d).

    Covariances are unbiased. The distance is biased: it grows as n falls, so report n with it. Raises PellucidError
    for fewer than 2 rows. Source: Heusel et al. 2017, equation 6.
    """
    _check(first, second)
    x, y = first.double(), second.double()
    return gaussian_distance(x.mean(0), x.T.cov(), y.mean(0), y.T.cov())


def gaussian_distance(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of means (d,) and covariances (d, d).

    Source: Dowson and Landau 1982, equation 4. The trace of the root is the sum of the roots of the eigenvalues of
    R C2 R, where R is the symmetric root of C1.
    """
    first, second = (c.double().reshape(len(mean), -1) for c in (covariance, other_covariance))  # cov is 0-d if d = 1
    values, vectors = torch.linalg.eigh(first)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    mixed = torch.linalg.eigvalsh(root @ second @ root)
    apart = (mean.double() - other_mean.double()).square().sum()
    return float((apart + first.trace() + second.trace() - 2 * mixed.clamp_min(0).sqrt().sum()).clamp_min(0))


def kernel_distance(first: Tensor, second: Tensor) -> float:
    """Return the unbiased squared MMD of features (n, d), (m, d) with the kernel (x y / d + 1)^3.

    It may be negative. Source: Binkowski, Sutherland, Arbel and Gretton 2018, section 4, on all examples at once.
    """
    _check(first, second)
    x, y = first.double(), second.double()
    n, m, d = len(x), len(y), x.shape[1]

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / d + 1) ** 3

    within_x, within_y = kernel(x, x), kernel(y, y)
    mean_x = (within_x.sum() - within_x.trace()) / (n * (n - 1))
    mean_y = (within_y.sum() - within_y.trace()) / (m * (m - 1))
    return float(mean_x + mean_y - 2 * kernel(x, y).mean())


def _check(first: Tensor, second: Tensor) -> None:
    if first.dim() != 2 or second.dim() != 2 or first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise PellucidError(
            f"features have shapes {tuple(first.shape)} and {tuple(second.shape)}; give (n, d) and (m, d) of at least "
            "2 images each"
        )
