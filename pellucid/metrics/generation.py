"""Evaluation of a generator's samples: variety of their classes, Parzen windows, and distances of features."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError

MIN_CLASS_SHARE = 0.01  # fraction of the samples that must be predicted as a class for the class to count as covered
BANDWIDTHS = tuple(round(10 ** (-1.2 + 0.05 * k), 4) for k in range(25))  # 0.063 to 1, for pixels from 0 to 1
CHUNK_SIZE = 500  # points whose densities are computed at a time

Blocks = Sequence[Tensor]
ComputeBlocks = Callable[[Blocks, Callable[[Tensor], Tensor]], Iterable[Tensor]]


@dataclass(frozen=True)
class Variety:
    """Statistics of a classifier's predictions for samples.

    shares: the fraction of the samples predicted as each of K classes.
    covered: the number of classes with a share of at least MIN_CLASS_SHARE.
    entropy: the entropy of the shares in nats, at most ln K.
    score: exp of the mean KL divergence of a sample's probabilities from the mean probabilities, from 1 to K.
    confidence: the mean probability of the predicted classes.
    """

    shares: tuple[float, ...]
    covered: int
    entropy: float
    score: float
    confidence: float


def variety(probabilities: Tensor) -> Variety:
    """Return the variety of a classifier's probabilities (n, K) for n samples.

    The score is the inception score of Salimans et al. 2016, section 4, with this classifier instead of Inception;
    scores by different classifiers cannot be compared. Raises PellucidError for another shape or no samples.
    """
    if probabilities.dim() != 2 or not len(probabilities):
        raise PellucidError(f"variety takes probabilities (n, K), not {tuple(probabilities.shape)}")
    p = probabilities.double()
    confidence, predicted = p.max(1)
    shares = predicted.bincount(minlength=p.shape[1]).double() / len(p)
    mean = p.mean(0)
    divergences = (torch.xlogy(p, p) - torch.xlogy(p, mean)).sum(1)
    return Variety(
        shares=tuple(shares.tolist()),
        covered=int((shares >= MIN_CLASS_SHARE).sum()),
        entropy=float(torch.special.entr(shares).sum()),
        score=math.exp(float(divergences.mean())),
        confidence=float(confidence.mean()),
    )


def compute_in_order(blocks: Blocks, compute: Callable[[Tensor], Tensor]) -> Iterable[Tensor]:
    """Compute the results for blocks of a tensor one after the other, without other processes."""
    return map(compute, blocks)


def log_densities(
    points: Tensor, samples: Tensor, bandwidths: Sequence[float], compute_blocks: ComputeBlocks = compute_in_order
) -> Tensor:
    """Return the log density of points (m, D) under Gaussian windows centred on samples (n, D), (bandwidths, m).

    ln p(x) = ln 1/n Σ N(x; xᵢ, σ² I), with σ the bandwidth. compute_blocks: returns the results of a function for
    blocks of points, such as `Processes.shared`. Source: Parzen 1962; Breuleux, Bengio and Vincent 2011, section 4.
    """

    def block_densities(block: Tensor) -> Tensor:
        squared_distances = torch.cdist(block, samples).double() ** 2  # (chunk, n)
        return torch.stack([torch.logsumexp(squared_distances / (-2 * bandwidth**2), 1) for bandwidth in bandwidths])

    n_values = points.shape[1]
    densities = [*compute_blocks(points.split(CHUNK_SIZE), block_densities)]
    log_scale = torch.tensor(
        [n_values / 2 * math.log(2 * math.pi * bandwidth**2) for bandwidth in bandwidths], dtype=torch.float64
    )
    return torch.cat(densities, 1) - math.log(len(samples)) - log_scale[:, None]


@dataclass(frozen=True)
class ParzenLikelihood:
    """The log-likelihood of test images under Parzen windows.

    mean: the mean log density of the test images, in nats.
    error: the standard error of the mean.
    bandwidth: the standard deviation of the windows.
    samples: the number of windows.
    points: the number of test images.
    chosen: the number of validation images.
    """

    mean: float
    error: float
    bandwidth: float
    samples: int
    points: int
    chosen: int


def parzen(
    samples: Tensor, validation: Tensor, test: Tensor, compute_blocks: ComputeBlocks = compute_in_order
) -> ParzenLikelihood:
    """Return the mean log-likelihood of test images (m, ...) under Gaussian windows centred on samples (n, ...).

    The bandwidth is the one in BANDWIDTHS with the highest mean log-likelihood of the `validation` images. In so many
    dimensions, the estimate is far from the model's likelihood and does not rank models by the quality of their samples
    (Theis, van den Oord and Bethge 2016, section 3.2). So compare only models with the same number of samples and the
    same choice of the bandwidth. compute_blocks: see `log_densities`.
    """
    windows, held_out, points = (images.flatten(1) for images in (samples, validation, test))
    means = log_densities(held_out, windows, BANDWIDTHS, compute_blocks).mean(1)
    bandwidth = BANDWIDTHS[int(means.argmax())]
    densities = log_densities(points, windows, [bandwidth], compute_blocks)[0]
    error = float(densities.std()) / math.sqrt(len(densities))
    return ParzenLikelihood(
        float(densities.mean()), error, bandwidth, samples=len(windows), points=len(points), chosen=len(held_out)
    )


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return the squared Frechet distance between Gaussians fitted to features (n, d) and (m, d).

    Covariances are unbiased estimates. The distance is biased: it increases as n decreases, so report n with it. Raises
    PellucidError for fewer than 2 rows, or different d. Source: Heusel et al. 2017, equation 6.
    """
    _check_features(first, second)
    x, y = first.double(), second.double()
    return gaussian_distance(x.mean(0), x.T.cov(), y.mean(0), y.T.cov())


def gaussian_distance(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) for means (d,) and covariances (d, d).

    Source: Dowson and Landau 1982, equation 4. The trace of the root is the sum of the roots of the eigenvalues of
    R C2 R, where R is the symmetric root of C1.
    """
    first, second = (c.double().reshape(len(mean), -1) for c in (covariance, other_covariance))  # cov is 0-d if d = 1
    eigenvalues, eigenvectors = torch.linalg.eigh(first)
    root = eigenvectors * eigenvalues.clamp_min(0).sqrt() @ eigenvectors.T
    mixed = torch.linalg.eigvalsh(root @ second @ root)
    between_means = (mean.double() - other_mean.double()).square().sum()
    return float((between_means + first.trace() + second.trace() - 2 * mixed.clamp_min(0).sqrt().sum()).clamp_min(0))


def kernel_distance(first: Tensor, second: Tensor) -> float:
    """Return the unbiased squared MMD of features (n, d), (m, d) with the kernel (x y / d + 1)^3.

    It may be negative. Raises PellucidError for fewer than 2 rows, or different d. Source: Binkowski, Sutherland, Arbel
    and Gretton 2018, section 4, here with all examples in one block.
    """
    _check_features(first, second)
    x, y = first.double(), second.double()
    n, m, d = len(x), len(y), x.shape[1]

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / d + 1) ** 3

    within_x, within_y = kernel(x, x), kernel(y, y)
    mean_x = (within_x.sum() - within_x.trace()) / (n * (n - 1))
    mean_y = (within_y.sum() - within_y.trace()) / (m * (m - 1))
    return float(mean_x + mean_y - 2 * kernel(x, y).mean())


def _check_features(first: Tensor, second: Tensor) -> None:
    if first.dim() != 2 or second.dim() != 2 or first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise PellucidError(
            f"features have shapes {tuple(first.shape)} and {tuple(second.shape)}; give (n, d) and (m, d) of at least "
            "2 images each"
        )
