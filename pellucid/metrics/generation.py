"""Judging samples of a generator: the variety of a classifier's answers, and Parzen windows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import PellucidError

MIN_SHARE = 0.01  # of the samples, from which a class counts as covered
BANDWIDTHS = tuple(round(10 ** (-1.2 + 0.05 * k), 4) for k in range(25))  # 0.063 to 1, for pixels in 0 to 1
CHUNK = 500  # points at a time


@dataclass(frozen=True)
class Variety:
    """The answers of a classifier to samples.

    shares: of each class among the answers. covered: the number of classes with at least MIN_SHARE. entropy: of the
    shares, in nats, at most ln K. score: exp of the mean divergence of a sample's probabilities from their mean, from 1
    to K. confidence: the mean probability of the answers.
    """

    shares: tuple[float, ...]
    covered: int
    entropy: float
    score: float
    confidence: float


def variety(probabilities: Tensor) -> Variety:
    """Return the variety of a classifier's probabilities (n, K) for n samples.

    The score is Salimans et al. 2016, section 4, with this classifier in place of Inception: scores of different
    classifiers cannot be compared.
    """
    if probabilities.dim() != 2 or not len(probabilities):
        raise PellucidError(f"variety takes probabilities (n, K), not {tuple(probabilities.shape)}")
    p = probabilities.double()
    best, answers = p.max(1)
    shares = answers.bincount(minlength=p.shape[1]).double() / len(p)
    mean = p.mean(0)
    divergences = (torch.xlogy(p, p) - torch.xlogy(p, mean)).sum(1)
    return Variety(
        tuple(shares.tolist()),
        int((shares >= MIN_SHARE).sum()),
        float(torch.special.entr(shares).sum()),
        math.exp(float(divergences.mean())),
        float(best.mean()),
    )


def log_densities(points: Tensor, samples: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """Return the log density of points (m, D) under Gaussian windows on samples (n, D), (bandwidths, m).

    ln p(x) = ln 1/n Σ N(x; xᵢ, σ² I), with σ the bandwidth.
    Source: Parzen 1962; Breuleux, Bengio and Vincent 2011, section 4.
    """
    size, found = points.shape[1], list[Tensor]()
    for some in points.split(CHUNK):
        squares = torch.cdist(some, samples).double() ** 2  # (chunk, n)
        found.append(torch.stack([torch.logsumexp(squares / (-2 * s**2), 1) for s in bandwidths]))
    scale = torch.tensor([size / 2 * math.log(2 * math.pi * s**2) for s in bandwidths], dtype=torch.float64)
    return torch.cat(found, 1) - math.log(len(samples)) - scale[:, None]


@dataclass(frozen=True)
class ParzenLikelihood:
    """mean: of the log density of test images, in nats. error: its standard error. bandwidth: of the windows.

    samples, points, chosen: the numbers of windows, of test images, and of the images that chose the bandwidth.
    """

    mean: float
    error: float
    bandwidth: float
    samples: int
    points: int
    chosen: int


def parzen(samples: Tensor, validation: Tensor, test: Tensor) -> ParzenLikelihood:
    """Return the mean log-likelihood of test images (m, ...) under Gaussian windows on samples (n, ...).

    Of BANDWIDTHS, the one with the largest mean for the `validation` images is chosen. Estimates in so many dimensions
    are far from the model's own likelihood and rank models by other things than the quality of their samples (Theis,
    van den Oord and Bethge 2016, section 3.2): compare only models with the same number of samples and the same rule.
    """
    windows, held, points = (one.flatten(1) for one in (samples, validation, test))
    means = log_densities(held, windows, BANDWIDTHS).mean(1)
    bandwidth = BANDWIDTHS[int(means.argmax())]
    found = log_densities(points, windows, [bandwidth])[0]
    error = float(found.std()) / math.sqrt(len(found))
    return ParzenLikelihood(float(found.mean()), error, bandwidth, len(windows), len(points), len(held))
