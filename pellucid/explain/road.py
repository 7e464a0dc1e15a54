"""ROAD: removal of the most important pixels by imputation, which leaves no trace of the removed shape."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.explain.checks import Curve, pixel_ranks, scores_of_variants, with_map_channels_first
from pellucid.explain.occlusion import OutputFunction
from pellucid.explain.sweeps import fix_target
from pellucid.explain.target import Target, aim
from pellucid.layers.base import Layer, Params
from pellucid.objective import seeded_generator

FRACTIONS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)  # of the pixels, removed in turn
NOISE = 0.01  # standard deviation of the noise on imputed pixels, which keeps them from being recognized as such
# The weights of the eight neighbours of a pixel in its mean.
NEIGHBOURS = ((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0.0, 1 / 6), (1 / 12, 1 / 6, 1 / 12))
TOLERANCE = 1e-4  # of the imputed values, relative to the standard deviation of the known ones
MAX_ITERATIONS = 500  # of the solver; 224 x 224 pixels with 90 % removed in one piece need about 300


@torch.no_grad()
def road(
    net: Layer, params: Params, x: Tensor, target: Target, map_: Tensor, seed: int = 0,
    read: OutputFunction | None = None,
) -> Curve:  # fmt: skip
    """Return the scores after FRACTIONS of the pixels are imputed, the most important first; low is good.

    Removed pixels become the weighted mean of their neighbours, with a little noise. Unlike the fill with one value of
    `deletion`, this leaves no outline, from which a network may read the class of what was removed. map_, target
    and read: see `deletion`. Source: Rong et al. 2022, section 4.
    """
    net, params, x, map_ = with_map_channels_first(net, params, x, map_)
    target = fix_target(net, params, x, target)
    rank = pixel_ranks(map_, x)
    rng = seeded_generator(x.device, seed)
    noise = NOISE * torch.randn(x.shape, generator=rng, device=rng.device).to(x)
    n_pixels = x.shape[2] * x.shape[3]
    # One pixel is always left.
    removed_counts = [min(round(fraction * n_pixels), n_pixels - 1) for fraction in FRACTIONS]
    removals = (rank < count for count in removed_counts)  # (N, 1, H, W) each
    images = (imputed(x, removed) + noise * removed for removed in removals)
    selection = aim(net, target, len(x), keep_probabilities=read is not None)
    return Curve(x.new_tensor(FRACTIONS), scores_of_variants(selection, params, images, read))


def imputed(x: Tensor, removed: Tensor) -> Tensor:
    """Return images (N, C, H, W) in which each removed pixel is the weighted mean of its neighbours, NEIGHBOURS.

    removed: (N, 1, H, W), True for the pixels to replace. Outside of the image there are no neighbours. The removed
    pixels depend on each other: this system of linear equations, which is symmetric and positive definite, is solved by
    conjugate gradients, for all images and channels at once.
    Raises PellucidError if all pixels of an image are removed.
    """
    if bool(removed.flatten(1).all(1).any()):
        raise PellucidError("imputation needs at least one pixel that is not removed")
    unknown_mask = removed.to(x)
    weight_sums = _neighbour_sum(torch.ones_like(x[:1, :1]))  # of the weights that lie inside the image

    def apply_equations(values: Tensor) -> Tensor:
        return unknown_mask * (weight_sums * values - _neighbour_sum(values))

    known = x * (1 - unknown_mask)
    mean = known.sum((2, 3), keepdim=True) / (1 - unknown_mask).sum((2, 3), keepdim=True)
    # The mean is a good first guess, and a solution is shifted with its data.
    centred = known - mean * (1 - unknown_mask)
    solution = torch.zeros_like(x)
    residual = unknown_mask * _neighbour_sum(centred)
    direction = residual
    squared_norm = _dot(residual, residual)
    limit = TOLERANCE**2 * _dot(centred, centred)
    for _ in range(MAX_ITERATIONS):
        if bool((squared_norm <= limit).all()):
            break
        product = apply_equations(direction)
        step_length = torch.where(squared_norm > 0, squared_norm / _dot(direction, product), 0)
        solution = solution + step_length * direction
        residual = residual - step_length * product
        next_squared_norm = _dot(residual, residual)
        direction = residual + torch.where(squared_norm > 0, next_squared_norm / squared_norm, 0) * direction
        squared_norm = next_squared_norm
    return known + unknown_mask * (solution + mean)


def _neighbour_sum(values: Tensor) -> Tensor:
    """Return the weighted sum of the eight neighbours of each pixel, 0 outside of the image."""
    channels = values.shape[1]
    weights = values.new_tensor(NEIGHBOURS).expand(channels, 1, 3, 3)
    return F.conv2d(values, weights, padding=1, groups=channels)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of each channel, (N, C, 1, 1)."""
    return (a * b).sum((2, 3), keepdim=True)
