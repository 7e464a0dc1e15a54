"""A dense conditional random field, which makes masks follow the edges of a picture."""

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import PellucidError

ITERATIONS = 5
PUBLISHED_SIDE = 500  # pixels, of the longer side of the pictures that the authors' numbers are for
REACH = 4  # standard deviations at which the smoothness kernel is cut off
BLURS = 2  # passes of [1 2 1] / 4, whose variance is half a square cell each; both interpolations add a third
CELL = (BLURS / 2 + 1 / 3) ** -0.5  # standard deviations: then all variances add up to that of the kernel
CHUNK = 1 << 18  # pixels filtered at a time, which bounds the memory for their 32 corners


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
    wide, as in Paris and Durand 2009, in place of the permutohedral lattice: an approximation, by which about one pixel
    in a hundred gets another class than by sums over all pairs of pixels.
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
    """shape: cells along row, column and the three colours; lowest, (H W,): each pixel's cell; part, (5, H W): how far
    each pixel lies from that cell towards the next one along each axis.
    """

    shape: tuple[int, ...]
    lowest: Tensor
    part: Tensor

    def corners(self, some: slice) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the 32 cells around some of the pixels, and the weights of these cells."""
        strides = [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        lowest, part = self.lowest[some], self.part[:, some]
        for corner in product((0, 1), repeat=len(self.shape)):
            weight = math.prod(part[axis] if step else 1 - part[axis] for axis, step in enumerate(corner))
            yield (
                lowest + sum(step * stride for step, stride in zip(corner, strides, strict=True)),
                cast(Tensor, weight),
            )


def bilateral(x: Tensor, grid: Grid) -> Tensor:
    """Return x (C, H, W) filtered by about exp(-|Δp|²/2·80² - |Δc|²/2·13²)."""
    channels, flat = len(x), x.flatten(1)  # (C, H W)
    chunks = [slice(at, at + CHUNK) for at in range(0, flat.shape[1], CHUNK)]
    cells = x.new_zeros(math.prod(grid.shape), channels)
    for some in chunks:
        rows = flat[:, some].T
        for cell, weight in grid.corners(some):
            cells.index_add_(0, cell, rows * weight[:, None].to(x.dtype))
    cells = cells.view(*grid.shape, channels)
    for axis in BLURS * tuple(range(len(grid.shape))):
        cells = _blur(cells, axis)
    cells = cells.reshape(-1, channels)
    found = torch.zeros_like(flat)
    for some in chunks:
        for cell, weight in grid.corners(some):
            found[:, some] += (cells[cell] * weight[:, None].to(x.dtype)).T
    scale = (math.sqrt(2 * math.pi) / CELL) ** len(grid.shape)  # the blur sums to 1, the kernel is 1 at its centre
    return (found * scale).view_as(x)


def _blur(cells: Tensor, axis: int) -> Tensor:
    y = cells * 0.5
    size = cells.shape[axis] - 1
    y.narrow(axis, 0, size).add_(cells.narrow(axis, 1, size), alpha=0.25)
    y.narrow(axis, 1, size).add_(cells.narrow(axis, 0, size), alpha=0.25)
    return y


def _grid(image: Tensor, kernels: Kernels) -> Grid:
    """Return which cells each pixel lies between, one cell apart from the border on all sides, and how near to each."""
    _, height, width = image.shape
    down = torch.arange(height, device=image.device)[:, None].expand(height, width)
    across = torch.arange(width, device=image.device).expand(height, width)
    at = torch.stack([down.flatten(), across.flatten(), *image.flatten(1)]).float()  # (5, H W)
    at /= at.new_tensor([kernels.place] * 2 + [kernels.colour] * 3)[:, None] * CELL
    at += 1 - at.min(1, keepdim=True).values
    low = at.floor()
    shape = tuple((low.max(1).values.long() + 3).tolist())
    lowest = torch.zeros(height * width, dtype=torch.int64, device=image.device)
    for axis, size in zip(low, shape, strict=True):
        lowest = lowest * size + axis.long()
    return Grid(shape, lowest, at - low)
