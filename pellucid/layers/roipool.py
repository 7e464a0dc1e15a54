"""RoIPool: regions of feature maps are max-pooled to one size."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from pellucid.base.settings.checks import check_positive, check_within
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait, expanded_zeros, pair
from pellucid.layers.roialign import check_regions

MAX_COMPARED_VALUES = 1 << 22  # number of values that are compared at a time, to limit the memory


class RoIPoolCache(NamedTuple):
    """Cache of RoIPool: the index of each maximum, and the shapes of the inputs."""

    switches: Tensor  # (M, C, h, w) int64: image * H * W + row * W + column, -1 for an empty bin
    maps: Tensor  # (N, C, H, W), expanded from a single stored value
    regions: Tensor  # (M, 5), expanded from a single stored value


@dataclass(frozen=True)
class RoIPool(Layer):
    """Compute the maximum of each of size x size bins of regions of feature maps.

    Input, output, `size` and `scale` are as in RoIAlign. Corners are rounded to whole pixels; the pixels at both
    corners belong to the region. Bins are rounded outwards to whole pixels, so neighbouring bins may overlap. The
    output of a bin outside the map is 0, without a gradient. Among equal maxima, the first in row-major order receives
    the gradient; the gradient with respect to the regions is 0. Source: Girshick 2015, section 2.1, with the rounding
    of its reference code.
    """

    traits: ClassVar[Trait] = Trait.RESAMPLE | Trait.MULTIPLE_INPUTS
    constants: ClassVar[tuple[int, ...]] = (1,)  # the regions get no gradient

    size: int | tuple[int, int]
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_positive(self, size=self.size)
        check_within(self, 0, float("inf"), scale=self.scale)

    def init(self, shape: tuple[Shape, Shape], rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the shape of a pooled region."""
        channels = check_regions(self, shape)
        return {}, (channels, *pair(self.size))

    def forward(self, params: Params, x: tuple[Tensor, Tensor], mode: Mode) -> tuple[Tensor, RoIPoolCache]:
        """Compute y = the maximum over each bin."""
        maps, regions = x
        channels, height, width = maps.shape[1:]
        rows, columns = pair(self.size)
        regions = regions if regions.dtype == torch.float64 else regions.float()
        image_index, corners = regions[:, 0].long(), _round_half_away(regions[:, 1:] * self.scale)
        top, bottom = _bin_bounds(corners[:, 1], corners[:, 3], rows, height)  # (M, rows) each
        left, right = _bin_bounds(corners[:, 0], corners[:, 2], columns, width)
        pixel_values = maps.permute(0, 2, 3, 1).reshape(-1, channels)  # (N H W, C)
        y = maps.new_zeros(len(regions), rows, columns, channels)
        switches = torch.full(y.shape, -1, device=y.device)
        for group in _region_groups((bottom - top).amax(1) * (right - left).amax(1) * rows * columns * channels):
            bin_rows = _bin_pixels(top[group], bottom[group])  # (m, rows, k), for the m regions of the group
            bin_columns = _bin_pixels(left[group], right[group])  # (m, columns, l)
            row = image_index[group, None, None] * height + bin_rows.clamp(0, max(height - 1, 0))
            column = bin_columns.clamp(0, max(width - 1, 0))
            pixel = row[:, :, None, :, None] * width + column[:, None, :, None, :]  # (m, rows, columns, k, l)
            beyond_right = (bin_columns >= right[group, :, None])[:, None, :, None, :]
            is_outside = ((bin_rows >= bottom[group, :, None])[:, :, None, :, None] | beyond_right).flatten(3)
            pixel = pixel.flatten(3)  # (m, rows, columns, k l)
            bin_values = pixel_values[pixel.flatten()].view(*pixel.shape, channels)
            bin_values = bin_values.masked_fill(is_outside[..., None], -torch.inf)
            largest, max_index = bin_values.max(3)  # (m, rows, columns, C)
            is_empty = is_outside.all(3)[..., None]
            switches[group] = torch.where(is_empty, -1, pixel.gather(3, max_index.flatten(3)))
            y[group] = torch.where(is_empty, 0, largest)
        return y.permute(0, 3, 1, 2), RoIPoolCache(
            switches.permute(0, 3, 1, 2), expanded_zeros(maps), expanded_zeros(x[1])
        )

    def backward(self, params: Params, cache: RoIPoolCache, dy: Tensor) -> tuple[tuple[Tensor, Tensor], Params]:
        """Compute dx[switch] = the sum of dy over the bins that have their maximum there."""
        n, channels, height, width = cache.maps.shape
        switches_by_channel = cache.switches.transpose(0, 1).flatten(1)  # (C, M h w)
        gradient = dy.transpose(0, 1).flatten(1).masked_fill(switches_by_channel < 0, 0)
        dx = dy.new_zeros(channels, n * height * width)
        dx = dx.scatter_add(1, switches_by_channel.clamp_min(0), gradient) if dx.numel() else dx
        return (dx.view(channels, n, height, width).transpose(0, 1), cache.regions), {}


def _region_groups(sizes: Tensor) -> list[Tensor]:
    """Return the indices of the regions in groups of at most MAX_COMPARED_VALUES values, or of a single larger region.

    sizes: the number of values in the bins of each region. The regions are sorted by descending size, since all bins of
    a group are padded to the largest bin.
    """
    order = sizes.argsort(descending=True)
    counts: list[int] = cast(Any, sizes[order]).tolist()
    groups, start = list[Tensor](), 0
    while start < len(counts):
        end = start + max(1, MAX_COMPARED_VALUES // max(1, counts[start]))
        groups.append(order[start:end])
        start = end
    return groups


def _round_half_away(coordinates: Tensor) -> Tensor:
    """Return the nearest whole numbers, with halves rounded away from zero."""
    return torch.copysign((coordinates.abs() + 0.5).floor(), coordinates).long()


def _bin_bounds(first_pixel: Tensor, last_pixel: Tensor, bins: int, length: int) -> tuple[Tensor, Tensor]:
    """Return the first pixel of each bin and the pixel after its last, (M, bins) each.

    first_pixel, last_pixel: (M,), the range of each region along an axis of `length` pixels.
    """
    extent = (last_pixel - first_pixel + 1).clamp_min(1)[:, None]
    index = torch.arange(bins, device=first_pixel.device)
    low = extent * index // bins
    high = -(-extent * (index + 1) // bins)  # rounded up
    return (first_pixel[:, None] + low).clamp(0, length), (first_pixel[:, None] + high).clamp(0, length)


def _bin_pixels(start: Tensor, end: Tensor) -> Tensor:
    """Return consecutive pixels from each start: (M, bins, k), where k is the number of pixels of the largest bin."""
    count = max(1, int((end - start).max()) if start.numel() else 1)
    return start[..., None] + torch.arange(count, device=start.device)
