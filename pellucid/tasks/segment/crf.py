"""A dense CRF (conditional random field), which aligns masks with the edges of a picture."""

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError

ITERATIONS = 5
PUBLISHED_SIDE = 500  # pixels, the longer side of the pictures for which the authors chose their parameters
CUTOFF = 4  # standard deviations at which the smoothness kernel is cut off
N_BLURS = 2  # passes of [1 2 1] / 4, of variance 1/2 each, in cells; the two interpolations together add 1/3
# Side of a cell in standard deviations of the kernel, so that the variances add up to the kernel's.
CELL_SIDE = (N_BLURS / 2 + 1 / 3) ** -0.5
CHUNK_SIZE = 1 << 18  # pixels filtered at a time; limits the memory for their 32 corners


class CrfKernels(NamedTuple):
    """Standard deviations of positions in pixels and of colours (0 to 255), and weights; by default of the authors."""

    smoothness: float = 3.0
    smoothness_weight: float = 3.0
    position: float = 80.0
    colour: float = 13.0
    bilateral_weight: float = 10.0


PUBLISHED_KERNELS = CrfKernels()


def kernels_for(image: Tensor) -> CrfKernels:
    """Return kernels for a picture (3, H, W): the authors' kernels, scaled by its longer side, with weights 1 and 4.

    On CamVid's training pictures, these weights increase the mean IoU. The authors' weights 3 and 10 decrease it, since
    they remove small objects.
    """
    scale = max(image.shape[1:]) / PUBLISHED_SIDE
    return CrfKernels(
        smoothness=3.0 * scale,
        smoothness_weight=1.0,
        position=80.0 * scale,
        colour=13.0,
        bilateral_weight=4.0,
    )


def dense_crf(
    probabilities: Tensor, image: Tensor, kernels: CrfKernels = PUBLISHED_KERNELS, iterations: int = ITERATIONS
) -> Tensor:
    """Return the marginals (C, H, W) of a fully connected CRF, by mean-field inference.

    probabilities: (C, H, W), the outputs of a network; image: (3, H, W), uint8. The energy is -ln p of each pixel plus
    a Potts term for each pair of pixels of different classes. With the default kernels, its weight is 3
    exp(-|Δp|²/2·3²) + 10 exp(-|Δp|²/2·80² - |Δc|²/2·13²) for positions p and colours c. Each kernel is normalized
    symmetrically by the square roots of its sums, and includes the pixel itself, as in the authors' code. Source:
    Krähenbühl and Koltun 2011, algorithm 1. The bilateral kernel is computed on a grid with cells of about one standard
    deviation, as in Paris and Durand 2009, instead of the permutohedral lattice. Compared with sums over all pairs of
    pixels, this approximation changes the class of 0.2 % of the pixels of CamVid's pictures (reduced to 72 x 96) with
    `kernels_for`, and of 0.4 % with the default kernels. On small noisy pictures with random probabilities (16 and 32
    pixels a side), these are 0.1 to 0.9 % and 0.6 to 2.5 %, and at most 4 % of a picture. Measured by
    `python -m benchmarks.crf`.
    """
    if probabilities.dim() != 3 or image.dtype != torch.uint8 or image.shape != (3, *probabilities.shape[1:]):
        raise PellucidError(
            f"dense_crf: probabilities {tuple(probabilities.shape)} and image {tuple(image.shape)} {image.dtype} do "
            "not fit; give (C, H, W) and (3, H, W) in uint8"
        )
    logits = probabilities.clamp_min(1e-8).log()  # (C, H, W)
    grid = _bilateral_grid(image, kernels)
    smoothness_weight, bilateral_weight = kernels.smoothness_weight, kernels.bilateral_weight
    ones = torch.ones_like(logits[:1])
    smoothness_scale, bilateral_scale = (
        kernel.clamp_min(1e-12).rsqrt() for kernel in (smoothness_filter(ones, kernels), bilateral_filter(ones, grid))
    )
    q = logits.softmax(0)
    for _ in range(iterations):
        smoothness_message = smoothness_weight * smoothness_scale * smoothness_filter(smoothness_scale * q, kernels)
        bilateral_message = bilateral_weight * bilateral_scale * bilateral_filter(bilateral_scale * q, grid)
        # The Potts term subtracts the messages of all other classes. That is the sum over all classes, which the
        # softmax ignores, minus the message of the class itself.
        q = (logits + (smoothness_message + bilateral_message)).softmax(0)
    return q


def smoothness_filter(x: Tensor, kernels: CrfKernels) -> Tensor:
    """Return x (C, H, W) filtered by exp(-|Δp|²/2σ²) with σ = `kernels.smoothness`, padded with zeros."""
    radius = math.ceil(CUTOFF * kernels.smoothness)
    offsets = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    window = torch.exp(-0.5 * (offsets / kernels.smoothness) ** 2)
    filtered_rows = F.conv2d(x[:, None], window[None, None, :, None], padding=(radius, 0))
    return F.conv2d(filtered_rows, window[None, None, None, :], padding=(0, radius))[:, 0]


class Grid(NamedTuple):
    """A grid of cells over rows, columns and the three colours.

    shape: the number of cells along each axis. lowest_cell: (H W,), the index of the lowest of the 32 cells around
    each pixel. offset: (5, H W), the position of each pixel between that cell and the next one along each axis, 0 to 1.
    """

    shape: tuple[int, ...]
    lowest_cell: Tensor
    offset: Tensor

    def corners(self, pixels: slice) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield for the pixels of a slice the index and the weight of each of the 32 cells around them."""
        strides = [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        lowest_cell, offset = self.lowest_cell[pixels], self.offset[:, pixels]
        for corner in product((0, 1), repeat=len(self.shape)):
            weight = math.prod(offset[axis] if step else 1 - offset[axis] for axis, step in enumerate(corner))
            yield (
                lowest_cell + sum(step * stride for step, stride in zip(corner, strides, strict=True)),
                cast(Tensor, weight),
            )


def bilateral_filter(x: Tensor, grid: Grid) -> Tensor:
    """Return x (C, H, W) filtered by an approximation of the bilateral kernel for which `grid` was made."""
    n_channels, flat = len(x), x.flatten(1)  # (C, H W)
    chunks = [slice(start, start + CHUNK_SIZE) for start in range(0, flat.shape[1], CHUNK_SIZE)]
    cells = x.new_zeros(math.prod(grid.shape), n_channels)
    for pixels in chunks:
        rows = flat[:, pixels].T
        for cell, weight in grid.corners(pixels):
            cells.index_add_(0, cell, rows * weight[:, None].to(x.dtype))
    cells = cells.view(*grid.shape, n_channels)
    for axis in N_BLURS * tuple(range(len(grid.shape))):
        cells = _blur(cells, axis)
    cells = cells.reshape(-1, n_channels)
    filtered = torch.zeros_like(flat)
    for pixels in chunks:
        for cell, weight in grid.corners(pixels):
            filtered[:, pixels] += (cells[cell] * weight[:, None].to(x.dtype)).T
    # The weights of the blur sum to 1, but the kernel is 1 at its centre.
    scale = (math.sqrt(2 * math.pi) / CELL_SIDE) ** len(grid.shape)
    return (filtered * scale).view_as(x)


def _blur(cells: Tensor, axis: int) -> Tensor:
    """Return the cells filtered by [1 2 1] / 4 along an axis, padded with zeros."""
    y = cells * 0.5
    size = cells.shape[axis] - 1
    y.narrow(axis, 0, size).add_(cells.narrow(axis, 1, size), alpha=0.25)
    y.narrow(axis, 1, size).add_(cells.narrow(axis, 0, size), alpha=0.25)
    return y


def _bilateral_grid(image: Tensor, kernels: CrfKernels) -> Grid:
    """Return the grid for the pixels of an image, with an empty cell at each end of each axis for the blur."""
    _, height, width = image.shape
    rows = torch.arange(height, device=image.device)[:, None].expand(height, width)
    columns = torch.arange(width, device=image.device).expand(height, width)
    positions = torch.stack([rows.flatten(), columns.flatten(), *image.flatten(1)]).float()  # (5, H W)
    positions /= positions.new_tensor([kernels.position] * 2 + [kernels.colour] * 3)[:, None] * CELL_SIDE
    positions += 1 - positions.min(1, keepdim=True).values
    cells = positions.floor()
    shape = tuple((cells.max(1).values.long() + 3).tolist())
    lowest_cell = torch.zeros(height * width, dtype=torch.int64, device=image.device)
    for axis, size in zip(cells, shape, strict=True):
        lowest_cell = lowest_cell * size + axis.long()
    return Grid(shape, lowest_cell, positions - cells)
