"""Feature standardization: zero mean and unit variance of every channel over a data set."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError
from pellucid.data.dataset import float_images
from pellucid.data.seeds import generator
from pellucid.data.source import Source

_CHUNK = 1024  # images read at a time


@dataclass(frozen=True, eq=False)
class FeatureStats:
    """Mean and standard deviation of each channel over a data set, each (C, 1, 1) float32."""

    mean: Tensor
    std: Tensor
    __repr__ = brief_repr

    @classmethod
    def fit(cls, x: Tensor | Source) -> "FeatureStats":
        """Compute the statistics, in float64, of images (N, C, H, W), uint8 or float, or of a source.

        The images of a source that is not in memory are read twice. The standard deviation is not corrected for bias;
        it is set to 1 for a constant channel. Raises PellucidError for another shape or no images.
        """
        shape = x.shape if isinstance(x, Tensor) else (len(x), *x.batch([0], generator(0)).images.shape[1:])
        if len(shape) != 4 or math.prod(shape) == 0:
            raise PellucidError(f"cannot standardize images of shape {tuple(shape)}; give images as (N, C, H, W)")
        n_values = math.prod(shape) // shape[1]
        mean = torch.stack([chunk.sum(dim=(0, 2, 3)) for chunk in _chunks(x)]).sum(dim=0) / n_values  # (C,)
        centre = mean[:, None, None]
        square_sums = [(chunk - centre).square().sum(dim=(0, 2, 3)) for chunk in _chunks(x)]
        std = torch.sqrt(torch.stack(square_sums).sum(dim=0) / n_values)
        # A standard deviation below the rounding error of the input is noise: treat the channel as constant.
        std = torch.where(std > 1e-6 * mean.abs().clamp(min=1e-30), std, 1.0)
        return cls(mean.float()[:, None, None], std.float()[:, None, None])

    def apply(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return (x - mean) / std of images (N, C, H, W) as `dtype`; raise PellucidError for another channel count."""
        if x.ndim != 4 or x.shape[1] != len(self.mean):
            raise PellucidError(f"statistics of {len(self.mean)} channels do not fit images {tuple(x.shape)}")
        return (float_images(x, dtype) - self.mean.to(x.device)) / self.std.to(x.device)


def _chunks(x: Tensor | Source) -> Iterator[Tensor]:
    """Yield all images in float64, _CHUNK at a time."""
    for start in range(0, len(x), _CHUNK):
        stop = min(start + _CHUNK, len(x))
        images = x[start:stop] if isinstance(x, Tensor) else x.batch(range(start, stop), generator(0)).images
        yield float_images(images).double()


def scaled(x: Tensor, stats: FeatureStats | None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return images as float network inputs of `dtype`, standardized if `stats` is given."""
    return float_images(x, dtype) if stats is None else stats.apply(x, dtype)
