"""A dense conditional random field, which makes masks follow the edges of a picture."""

import math
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import PellucidError

ITERATIONS = 5
PUBLISHED_SIDE = 500  # pixels, of the longer side of the pictures that the authors' numbers are for
REACH = 4  # standard deviations at which the smoothness kernel is cut off
BLURS = 2  # passes of [1 2 1] / 4, whose variance is half a square cell each; both interpolations add a third
CELL = (BLURS / 2 + 1 / 3) ** -0.5  # standard deviations: then all variances add up to that of the kernel


class Kernels(NamedTuple):
    """Standard deviations, in pixels and for colours in values from 0 to 255, and weights; by default the authors'."""

    smoothness: float = 3.0
    smoothness_weight: float = 3.0
    place: float = 80.0
    colour: float = 13.0
    bilateral_weight: float = 10.0


PUBLISHED = Kernels()


def kernels_for(image: Tensor) -> Kernels:
    """Return kernels for a picture (3, H, W): the authors', scaled by its longer side, with weights of 1 and 4.

    On CamVid's training pictures these weights raise the mean IoU, where 3 and 10 lower it: they remove what is small.
    """
    scale = max(image.shape[1:]) / PUBLISHED_SIDE
    return Kernels(3.0 * scale, 1.0, 80.0 * scale, 13.0, 4.0)


def dense_crf(
    probabilities: Tensor, image: Tensor, kernels: Kernels = PUBLISHED, iterations: int = ITERATIONS
) -> Tensor:
    """Return the marginals (C, H, W) of a fully connected field, by mean field.

    probabilities: (C, H, W), each pixel's from a network; image: (3, H, W), uint8. The energy is -ln p of each pixel
    and a Potts term for each pair of pixels of different classes, weighted, with the default kernels, by
    3 exp(-|Δp|²/2·3²) and 10 exp(-|Δp|²/2·80² - |Δc|²/2·13²) of their places p and colours c. Each kernel is
    normalized symmetrically by the square roots of its sums, and contains the pixel itself, as in the authors' code.
    Source: Krähenbühl and Koltun 2011, algorithm 1. The bilateral kernel works on a grid about a standard deviation
    wide, as in Paris and Durand 2009, in place of the permutohedral lattice.
    """
    if probabilities.dim() != 3 or image.dtype != torch.uint8 or image.shape != (3, *probabilities.shape[1:]):
        raise PellucidError(
            f"dense_crf: probabilities {tuple(probabilities.shape)} and image {tuple(image.shape)} {image.dtype} do "
            "not fit; give (C, H, W) and (3, H, W) in uint8"
        )
    logits = probabilities.clamp_min(1e-8).log()  # (C, H, W)
    grid, near_by, far = _grid(image, kernels), kernels.smoothness_weight, kernels.bilateral_weight
    ones = torch.ones_like(logits[:1])
    near, alike = (kernel.clamp_min(1e-12).rsqrt() for kernel in (smooth(ones, kernels), bilateral(ones, grid)))
    q = logits.softmax(0)
    for _ in range(iterations):
        message = near_by * near * smooth(near * q, kernels) + far * alike * bilateral(alike * q, grid)
        q = (logits + message).softmax(0)  # the Potts term: all other classes' messages, up to what all share
    return q


def smooth(x: Tensor, kernels: Kernels) -> Tensor:
    """Return x (C, H, W) filtered by exp(-|Δp|²/2·3²), with zeros beyond the image."""
    far = math.ceil(REACH * kernels.smoothness)
    places = torch.arange(-far, far + 1, dtype=x.dtype, device=x.device)
    window = torch.exp(-0.5 * (places / kernels.smoothness) ** 2)
    down = F.conv2d(x[:, None], window[None, None, :, None], padding=(far, 0))
    return F.conv2d(down, window[None, None, None, :], padding=(0, far))[:, 0]


class Grid(NamedTuple):
    """shape: cells along row, column and the three colours; cells, weights: (32, H W), each pixel's corners."""

    shape: tuple[int, ...]
    cells: Tensor
    weights: Tensor


def bilateral(x: Tensor, grid: Grid) -> Tensor:
    """Return x (C, H, W) filtered by about exp(-|Δp|²/2·80² - |Δc|²/2·13²)."""
    channels = len(x)
    rows = x.flatten(1).T  # (H W, C)
    cells = x.new_zeros(math.prod(grid.shape), channels)
    for place, weight in zip(grid.cells, grid.weights, strict=True):
        cells.index_add_(0, place, rows * weight[:, None].to(x.dtype))
    cells = cells.view(*grid.shape, channels)
    for axis in BLURS * tuple(range(len(grid.shape))):
        cells = _blur(cells, axis)
    cells = cells.reshape(-1, channels)
    found = torch.zeros_like(rows)
    for place, weight in zip(grid.cells, grid.weights, strict=True):
        found += cells[place] * weight[:, None].to(x.dtype)
    scale = (math.sqrt(2 * math.pi) / CELL) ** len(grid.shape)  # the blur sums to 1, the kernel is 1 at its centre
    return (found * scale).T.reshape(x.shape)


def _blur(cells: Tensor, axis: int) -> Tensor:
    y = cells * 0.5
    size = cells.shape[axis] - 1
    y.narrow(axis, 0, size).add_(cells.narrow(axis, 1, size), alpha=0.25)
    y.narrow(axis, 1, size).add_(cells.narrow(axis, 0, size), alpha=0.25)
    return y


def _grid(image: Tensor, kernels: Kernels) -> Grid:
    """Return which cells each pixel lies between, one cell apart from the border on all sides, and how near to each."""
    _, height, width = image.shape
    down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place, colours = kernels.place, image.flatten(1).double() / kernels.colour
    axes = [down.flatten() / place, across.flatten() / place, *colours]
    at = torch.stack([axis.double().to(image.device) for axis in axes])  # (5, H W)
    at = (at - at.min(1, keepdim=True).values) / CELL + 1
    low = at.floor()
    part = at - low  # (5, H W)
    shape = tuple((low.max(1).values.long() + 3).tolist())
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    cells, weights = [], []
    for corner in product((0, 1), repeat=len(shape)):
        cells.append(sum((low[k].long() + step) * strides[k] for k, step in enumerate(corner)))
        weights.append(math.prod(part[k] if step else 1 - part[k] for k, step in enumerate(corner)))
    return Grid(shape, torch.stack(cells), torch.stack(weights))
