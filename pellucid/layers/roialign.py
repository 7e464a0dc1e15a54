"""RoIAlign: regions of feature maps are resampled to one size by bilinear interpolation."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_flag, check_not_negative, check_positive, check_within
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait, expanded_zeros, pair
from pellucid.layers.checks import check_image_shape


class RoIAlignCache(NamedTuple):
    """Cache of RoIAlign: its inputs, and the terms of the weighted sums of pixels that are its output.

    Output bin b, in the order (region, row, column), is the sum of weight[j] times the values of pixel[j] over all j
    with bin[j] = b. pixel: (J,) int64, image * H * W + row * W + column. weight: (J,). bin: (J,) int64.
    """

    xs: tuple[Tensor, Tensor]  # maps (N, C, H, W), regions (M, 5)
    pixel: Tensor
    weight: Tensor
    bin: Tensor


class _AxisSamples(NamedTuple):
    """Samples along one axis: pixel indices and weights (M, bins, 2 k), and a mask (M, 1, 2 k) of the used ones."""

    pixel: Tensor
    weight: Tensor
    used_mask: Tensor


@dataclass(frozen=True)
class RoIAlign(Layer):
    """Resample regions of feature maps: the mean of bilinear samples in each of size x size equal bins.

    The input is a tuple (maps, regions): maps are (N, C, H, W), regions (M, 5) with the columns image index, x0, y0,
    x1, y1; y is (M, C, size, size), or (M, C, h, w) for `size` = (h, w). Coordinates are multiplied by `scale`, for
    example 1/16 for a map of stride 16. `sampling` is the number of samples along each axis of a bin; for 0, it is the
    bin's length in pixels, rounded up. With `aligned`, the coordinate of the first pixel's centre is 0.5, as for boxes.
    Without it, the coordinate is 0, and regions are at least 1 x 1, as in the paper's first code. Samples more than one
    pixel outside the map are 0. The gradient with respect to the regions is 0. Source: He et al. 2017, section 3;
    `aligned`: Wu et al. 2019 (Detectron2).
    """

    # ADDITIVE: inputs add up to an output, so relevance is shared by their contributions.
    traits: ClassVar[Trait] = Trait.ADDITIVE | Trait.RESAMPLE | Trait.MULTIPLE_INPUTS
    constants: ClassVar[tuple[int, ...]] = (1,)  # the regions get no gradient

    size: int | tuple[int, int]
    scale: float = 1.0
    sampling: int = 0
    aligned: bool = True

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_positive(self, size=self.size)
        check_within(self, 0, float("inf"), scale=self.scale)
        check_not_negative(self, sampling=self.sampling)
        check_flag(self, aligned=self.aligned)

    def init(self, shape: tuple[Shape, Shape], rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the shape of a resampled region."""
        channels = check_regions(self, shape)
        return {}, (channels, *pair(self.size))

    def forward(self, params: Params, x: tuple[Tensor, Tensor], mode: Mode) -> tuple[Tensor, RoIAlignCache]:
        """Compute y = the weighted sum of pixels for each bin."""
        maps, regions = x
        n, channels, height, width = maps.shape
        pixel, weight, bin_index = self._sum_terms(n, height, width, regions)
        rows, columns = pair(self.size)
        y = weighted_sums(_rows(maps), pixel, weight.to(maps.dtype), bin_index, len(regions) * rows * columns)
        y = y.view(-1, rows, columns, channels).permute(0, 3, 1, 2)  # channels last in memory
        return y, RoIAlignCache(x, pixel, weight, bin_index)

    def backward(self, params: Params, cache: RoIAlignCache, dy: Tensor) -> tuple[tuple[Tensor, Tensor], Params]:
        """Compute dx at each pixel = the sum of dy times the pixel's weight over the bins that use the pixel."""
        maps, regions = cache.xs
        n, channels, height, width = maps.shape
        pixel, order = cache.pixel.sort()
        dx = weighted_sums(_rows(dy), cache.bin[order], cache.weight[order].to(dy.dtype), pixel, n * height * width)
        return (dx.view(n, height, width, channels).permute(0, 3, 1, 2), expanded_zeros(regions)), {}

    def _sum_terms(self, images: int, height: int, width: int, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pixel, weight and bin of each term of the sums, see RoIAlignCache, by ascending bin."""
        rows, columns = pair(self.size)
        regions = regions if regions.dtype == torch.float64 else regions.float()
        image_index, boxes = regions[:, 0].long(), regions[:, 1:] * self.scale
        vertical = self._axis_samples(boxes[:, 1], boxes[:, 3], rows, height)  # (M, rows, k)
        horizontal = self._axis_samples(boxes[:, 0], boxes[:, 2], columns, width)  # (M, columns, l)
        row_offset = (image_index[:, None, None] * height + vertical.pixel) * width
        pixel = row_offset[:, :, None, :, None] + horizontal.pixel[:, None, :, None, :]  # (M, rows, columns, k, l)
        weight = vertical.weight[:, :, None, :, None] * horizontal.weight[:, None, :, None, :]
        bin_index = torch.arange(len(boxes) * rows * columns, device=boxes.device).view(-1, rows, columns, 1, 1)
        bin_index = bin_index.expand(pixel.shape)
        if self.sampling:
            return pixel.flatten(), weight.flatten(), bin_index.flatten()
        used_mask = (vertical.used_mask[:, :, None, :, None] & horizontal.used_mask[:, None, :, None, :]).expand(
            pixel.shape
        )
        return pixel[used_mask], weight[used_mask], bin_index[used_mask]

    def _axis_samples(self, low: Tensor, high: Tensor, bins: int, length: int) -> _AxisSamples:
        """Return the samples along an axis of `length` pixels for regions from low (M,) to high (M,)."""
        extent = high - low
        if self.aligned:
            low = low - 0.5
        else:
            extent = extent.clamp_min(1)
        bin_length = extent / bins
        if self.sampling:
            max_n_samples, n_samples = self.sampling, torch.full_like(bin_length, self.sampling)
        else:
            n_samples = bin_length.ceil().clamp_min(0)  # (M,)
            max_n_samples = max(1, int(n_samples.max())) if len(n_samples) else 1
        k, divisor = torch.arange(max_n_samples, device=low.device), n_samples.clamp_min(1)[:, None, None]
        offset = torch.arange(bins, device=low.device)[:, None] + (k + 0.5) / divisor  # (M, bins, k), in units of bins
        position = low[:, None, None] + bin_length[:, None, None] * offset
        is_inside = (position >= -1) & (position <= length)
        position = position.clamp(0, length - 1)
        lower_pixel = position.floor().clamp_max(max(length - 2, 0))
        fraction = position - lower_pixel
        weight = torch.stack([1 - fraction, fraction], 3) * (is_inside / divisor)[..., None]
        upper_pixel = (lower_pixel + 1).clamp_max(length - 1)
        pixel = torch.stack([lower_pixel, upper_pixel], 3).long()
        used_mask = (k < n_samples[:, None, None])[..., None].expand(-1, -1, -1, 2)
        return _AxisSamples(pixel.flatten(2), weight.flatten(2), used_mask.flatten(2))


def check_regions(layer: Layer, shape: Any) -> int:
    """Return the number of channels of the maps; raise PellucidError unless `shape` is ((C, H, W), (5,))."""
    if len(shape) != 2 or not isinstance(shape[0], tuple) or shape[1] != (5,):
        raise PellucidError(
            f"{type(layer).__name__} takes a tuple (maps, regions) of shapes (C, H, W) and (5,), not {shape}; "
            "a region is the index of its image, x0, y0, x1, y1"
        )
    return check_image_shape(layer, shape[0])[0]


def weighted_sums(rows: Tensor, source: Tensor, weight: Tensor, target: Tensor, n_sums: int) -> Tensor:
    """Return weighted sums (n_sums, C): row t is the sum of weight[j] rows[source[j]] over all j with target[j] = t.

    rows: (R, C). source, weight, target: (J,); target is in ascending order. PyTorch's kernel does not store the
    products.
    """
    if not len(rows):
        return rows.new_zeros(n_sums, rows.shape[1])
    starts = torch.searchsorted(target, torch.arange(n_sums, device=target.device))
    return F.embedding_bag(source, rows, starts, mode="sum", per_sample_weights=weight)


def _rows(images: Tensor) -> Tensor:
    """Return images (N, C, H, W) as rows of channels (N H W, C)."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])
