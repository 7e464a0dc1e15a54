"""Sampling of images at computed positions, as in spatial transformers. Source: Jaderberg et al. 2015, section 3."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.settings.checks import check_known
from pellucid.layers.base import Mode, Params, Trait
from pellucid.operators.base import TensorLayer
from pellucid.operators.moves import InputCache, InputsCache

Interpolation = Literal["bilinear", "nearest"]
Outside = Literal["zeros", "border"]


@dataclass(frozen=True)
class AffineGrid(TensorLayer):
    """Compute the positions (N, H, W, 2), from -1 to 1, at which affine maps (N, 2, 3) sample an image.

    size: (H, W) of the sampled image. align_corners: whether -1 and 1 are the centres of the outer pixels, instead of
    their outer edges. Source: Jaderberg et al. 2015, equation 1.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES

    size: tuple[int, int]
    align_corners: bool = False

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute θ (x, y, 1) for each pixel of the output."""
        grid = self.pixels(x) @ x.transpose(1, 2)
        return grid.view(len(x), *self.size, 2), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dθ = Σ dy (x, y, 1)ᵀ over the pixels."""
        return dy.flatten(1, 2).transpose(1, 2) @ self.pixels(cache.x), {}

    def pixels(self, like: Tensor) -> Tensor:
        """Return the positions (H W, 3) of the pixels of the output: x, y and 1. like: a tensor of the same type."""
        rows, columns = (self._centres(n_pixels, like) for n_pixels in self.size)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        return torch.stack([x, y, torch.ones_like(y)], -1).view(-1, 3)

    def _centres(self, n_pixels: int, like: Tensor) -> Tensor:
        centres = torch.linspace(-1, 1, n_pixels, dtype=like.dtype, device=like.device)
        if n_pixels == 1:
            return torch.zeros_like(centres)
        return centres if self.align_corners else centres * (n_pixels - 1) / n_pixels


class _Corner(NamedTuple):
    """One of the pixels between which is interpolated: its index (N, P) in the image, and weights (N, P).

    weight: of the pixel. weight_x, weight_y: derivatives of the weight by the position in pixels.
    """

    pixel: Tensor
    weight: Tensor
    weight_x: Tensor
    weight_y: Tensor


@dataclass(frozen=True)
class GridSample(TensorLayer):
    """Sample images (N, C, H, W) at positions (N, H', W', 2) of x and y, from -1 to 1.

    kind: the interpolation. outside: the values outside of the image, 0 or those of its border. align_corners: as for
    AffineGrid. Source: Jaderberg et al. 2015, equations 5 to 7.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES

    kind: Interpolation = "bilinear"
    outside: Outside = "zeros"
    align_corners: bool = False

    def __post_init__(self) -> None:
        """Raise PellucidError for unknown settings."""
        check_known("GridSample: kind", self.kind, get_args(Interpolation))
        check_known("GridSample: outside", self.outside, get_args(Outside))

    def forward(self, params: Params, x: tuple[Tensor, Tensor], mode: Mode) -> tuple[Tensor, InputsCache]:
        """Compute y = Σ weight of a pixel times its value, over the pixels around each position."""
        image, grid = x
        return F.grid_sample(image, grid, self.kind, self.outside, self.align_corners), InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[Tensor, Tensor], Params]:
        """Add dy to the pixels by their weights; the positions receive dy times values times derivatives of weights."""
        image, grid = cache.xs
        values = image.flatten(2)  # (N, C, H W)
        gradients = dy.flatten(2)  # (N, C, P)
        d_image = torch.zeros_like(values)
        d_x, d_y = torch.zeros_like(grid[..., 0].flatten(1)), torch.zeros_like(grid[..., 0].flatten(1))
        (x, scale_x), (y, scale_y) = (self._pixels(grid[..., k].flatten(1), image.shape[3 - k]) for k in range(2))
        for corner in self._corners(x, y, image.shape[2], image.shape[3]):
            index = corner.pixel[:, None].expand_as(gradients)
            d_image.scatter_add_(2, index, gradients * corner.weight[:, None])
            products = (gradients * values.gather(2, index)).sum(1)
            d_x += products * corner.weight_x
            d_y += products * corner.weight_y
        d_grid = torch.stack([d_x * scale_x, d_y * scale_y], -1).view_as(grid)
        return (d_image.view_as(image), d_grid), {}

    def _pixels(self, positions: Tensor, n_pixels: int) -> tuple[Tensor, Tensor]:
        """Return positions in pixels of an axis with `n_pixels`, and their derivatives by the given positions."""
        scale = (n_pixels - 1) / 2 if self.align_corners else n_pixels / 2
        pixels = (positions + 1) * scale - (0 if self.align_corners else 0.5)
        if self.outside == "zeros":
            return pixels, torch.full_like(pixels, scale)
        is_inside = (pixels > 0) & (pixels < n_pixels - 1)
        return pixels.clamp(0, n_pixels - 1), torch.where(is_inside, scale, 0.0).to(pixels)

    def _corners(self, x: Tensor, y: Tensor, height: int, width: int) -> list[_Corner]:
        """Return the pixels around positions in pixels; those outside of the image have the weight 0."""
        if self.kind == "nearest":
            zero = torch.zeros_like(x)
            return [_corner(x.round(), y.round(), (zero + 1, zero, zero), height, width)]
        left, top = x.floor(), y.floor()
        right_part, lower_part = x - left, y - top
        corners: list[_Corner] = []
        for row in (0, 1):
            for column in (0, 1):
                by_x, slope_x = (right_part, 1.0) if column else (1 - right_part, -1.0)
                by_y, slope_y = (lower_part, 1.0) if row else (1 - lower_part, -1.0)
                weights = by_x * by_y, slope_x * by_y, slope_y * by_x
                corners.append(_corner(left + column, top + row, weights, height, width))
        return corners


def _corner(column: Tensor, row: Tensor, weights: tuple[Tensor, Tensor, Tensor], height: int, width: int) -> _Corner:
    """Return a corner with its weight and derivatives, which are 0 outside of the image."""
    is_inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = torch.where(is_inside, row * width + column, 0).long()
    return _Corner(index, *(torch.where(is_inside, weight, 0.0) for weight in weights))
