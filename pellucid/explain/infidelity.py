"""Infidelity and sensitivity: whether a map predicts changes of the score, and how much it changes with the image."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_range, integer
from pellucid.explain.averaged import repeat_examples, variants_at_once
from pellucid.explain.checks import channel_sum, with_map_channels_first
from pellucid.explain.layout import with_channels_first
from pellucid.explain.sweeps import fix_target, scores
from pellucid.explain.target import Target, repeated_target
from pellucid.layers.base import Layer, Params
from pellucid.objective import seeded_generator

N_RESAMPLES = 1000  # bootstrap samples of the squares for an interval
CONFIDENCE_LEVEL = 0.95  # of the interval


class Infidelity(NamedTuple):
    """The infidelity of each map, (N,), and the bounds of its 95 % interval."""

    value: Tensor
    low: Tensor
    high: Tensor


class ScoreChanges(NamedTuple):
    """How much random squares decrease the score of each image: what maps of these images should predict.

    shape: of the images, (N, C, H, W). squares: (S, H, W), 1 inside of each square. decreases: (N, S), float64. seed:
    of the squares and of the bootstrap.
    """

    shape: tuple[int, ...]
    squares: Tensor
    decreases: Tensor
    seed: int

    def infidelity(self, map_: Tensor) -> Infidelity:
        """Return the infidelity of a map (N, C or 1, H, W) of the same images; see the function `infidelity`."""
        summed_map = channel_sum(map_)
        if summed_map.shape != (self.shape[0], *self.shape[2:]):
            raise PellucidError(f"a map of shape {tuple(map_.shape)} does not fit images {self.shape}")
        a = torch.einsum("nhw,shw->ns", summed_map, self.squares).double()
        d = self.decreases
        n_squares = len(self.squares)
        rng = torch.Generator().manual_seed(self.seed)
        draws = torch.randint(n_squares, (N_RESAMPLES, n_squares), generator=rng).to(d.device)
        resampled = _unpredicted(a[:, draws], d[:, draws])  # (N, N_RESAMPLES)
        bounds = torch.tensor(
            [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2], dtype=torch.float64, device=d.device
        )
        low, high = resampled.nanquantile(bounds, 1)  # NaN for draws of squares that change nothing
        return Infidelity(_unpredicted(a, d), low, high)


@torch.no_grad()
def score_changes(
    net: Layer, params: Params, x: Tensor, target: Target, fill: float = 0.0, samples: int = 100, seed: int = 0,
    batch: int = 32,
) -> ScoreChanges:  # fmt: skip
    """Return how much the score of images x decreases in random squares; for the arguments see `infidelity`."""
    net, params, x = with_channels_first(net, params, x)
    samples = integer(samples, "infidelity: samples", 2)
    max_variants = variants_at_once("infidelity", integer(batch, "infidelity: batch", 1), x)
    target = fix_target(net, params, x, target)
    squares = random_squares(samples, x.shape[2], x.shape[3], seed).to(x)
    score = scores(net, params, x, target)
    decreases: list[Tensor] = []
    for square_batch in squares.split(max_variants):
        hidden_mask = square_batch.repeat(len(x), 1, 1)[:, None]
        variants = torch.lerp(repeat_examples(x, len(square_batch)), x.new_tensor(fill), hidden_mask)
        variant_scores = scores(net, params, variants, repeated_target(target, len(square_batch)))
        decreases.append(score[:, None] - variant_scores.view(len(x), len(square_batch)))
    return ScoreChanges(tuple(x.shape), squares, torch.cat(decreases, 1).double(), seed)


@torch.no_grad()
def infidelity(
    net: Layer,
    params: Params,
    x: Tensor,
    target: Target,
    map_: Tensor,
    fill: float = 0.0,
    samples: int = 100,
    seed: int = 0,
    batch: int = 32,
) -> Infidelity:
    """Return the share of the score's changes that the map does not predict: 0 is the best map, 1 predicts nothing.

    In each of `samples` random squares, with sides of 1/8 to 1/2 of the shorter side, the pixels of x become `fill`.
    The sum a of the map (N, C or 1, H, W) in a square, times one factor for the whole map, should be the decrease d of
    the score. The result is min over the factor of Σ (factor a - d)² / Σ d², 1 for a map that is 0 everywhere, NaN if
    the score never changes. The interval is over the draw of the squares (percentile bootstrap).
    batch: the number of images per forward pass. target: see `aim`; None is the class of x with the largest score. For
    several maps of the same images, `score_changes` computes what they have in common once.
    Raises PellucidError for a map of another size. Source: Yeh et al. 2019, definition 2.1 with square removal, for
    maps of contributions, with the optimal scaling of their section 2.3.
    """
    net, params, x, map_ = with_map_channels_first(net, params, x, map_)
    return score_changes(net, params, x, target, fill, samples, seed, batch).infidelity(map_)


def _unpredicted(a: Tensor, d: Tensor) -> Tensor:
    """Return the share of d² (..., S) that no multiple of a predicts, (...)."""
    overlap = (a * d).sum(-1) ** 2
    norms = (a * a).sum(-1) * (d * d).sum(-1)
    return torch.where((a == 0).all(-1) & (d != 0).any(-1), 1.0, 1 - overlap / norms)


def random_squares(count: int, height: int, width: int, seed: int) -> Tensor:
    """Return masks (count, H, W), 1 in a square of 1/8 to 1/2 of the shorter side at a random place in the image."""
    rng = torch.Generator().manual_seed(seed)
    shorter = min(height, width)
    masks = torch.zeros(count, height, width)
    for mask in masks:
        side = int(torch.randint(max(1, shorter // 8), max(1, shorter // 2) + 1, (), generator=rng))
        top = int(torch.randint(height - side + 1, (), generator=rng))
        left = int(torch.randint(width - side + 1, (), generator=rng))
        mask[top : top + side, left : left + side] = 1
    return masks


@torch.no_grad()
def sensitivity(
    explain: Callable[[Tensor], Tensor], x: Tensor, radius: float = 0.02, samples: int = 4, seed: int = 0
) -> Tensor:
    """Return (N,): the largest relative change of a map, |map(x + δ) - map(x)| / |map(x)|, under small changes of x.

    δ is uniform in ±radius, as a fraction of each image's range of values, in each of `samples` draws. explain: a
    function that returns the maps of a batch. NaN for a map that is 0 everywhere.
    Source: Yeh et al. 2019, definition 3.1 (max-sensitivity), estimated by Monte Carlo as there.
    """
    check_range("sensitivity", radius=radius)
    rng = seeded_generator(x.device, seed)
    value_range = (x.flatten(1).amax(1) - x.flatten(1).amin(1)).view(-1, *(1,) * (x.dim() - 1))
    original = explain(x).flatten(1)
    largest = original.new_zeros(len(x))
    for _ in range(integer(samples, "sensitivity: samples", 1)):
        uniform = 2 * torch.rand(x.shape, generator=rng, device=rng.device).to(x) - 1
        change = explain(x + radius * value_range * uniform).flatten(1) - original
        largest = torch.maximum(largest, change.norm(dim=1))
    return largest / original.norm(dim=1)
