"""Local contrast normalization."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_whole, check_within
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait
from pellucid.layers.checks import check_image_shape


class LocalContrastNormCache(NamedTuple):
    """Cache of LocalContrastNorm: the centred image and its local standard deviation."""

    centred: Tensor  # (N, C, H, W)
    deviation: Tensor  # (N, 1, H, W)


@dataclass(frozen=True)
class LocalContrastNorm(Layer):
    """Subtract the local mean, then divide by the local standard deviation, or by its mean where this is larger.

    x and y are (N, C, H, W). v = x - Σ w x and y = v / max(c, σ, epsilon), where σ = sqrt(Σ w v²) and c is the mean of
    σ over the image. The sums are over all channels and a `size` x `size` window. Its weights w are Gaussian with a
    standard deviation of size / 4, and their sum is 1; near an edge, they cover the part of the window in the image.
    Source: Jarrett et al. 2009, section 2.
    """

    traits: ClassVar[Trait] = Trait.NORM | Trait.CONTRAST_NORM

    size: int = 9
    epsilon: float = 1e-4

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_whole(self, size=self.size)
        check_within(self, 0.0, float("inf"), epsilon=self.epsilon)
        if self.size % 2 == 0 or self.epsilon == 0:
            raise PellucidError(
                f"LocalContrastNorm needs an odd size and an epsilon above 0, not {self.size} and {self.epsilon}"
            )

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, check_image_shape(self, shape)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, LocalContrastNormCache]:
        """Compute v = x - Σ w x, then y = v / max(c, σ, epsilon)."""
        total_weight = self._window_mass(x)
        centred = x - self._window_sum(x.sum(1, keepdim=True)) / total_weight
        deviation = torch.sqrt(self._window_sum((centred * centred).sum(1, keepdim=True)) / total_weight)
        average = deviation.mean((2, 3), keepdim=True)  # (N, 1, 1, 1)
        return centred / self._divisor(deviation, average), LocalContrastNormCache(centred, deviation)

    def backward(self, params: Params, cache: LocalContrastNormCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dd = -Σ dy v / d² for d = max(c, σ, epsilon), then dσ, dv and dx.

        Where the maximum is σ, dd is added to dσ at this pixel; where it is c, dd is divided equally among the dσ of
        all pixels; where it is epsilon, dd has no effect. Then dv = dy / d + v Σ w dσ / σ, and dx = dv - Σ w Σ_channels
        dv.
        """
        v, sigma = cache
        total_weight = self._window_mass(v)
        average = sigma.mean((2, 3), keepdim=True)
        d = self._divisor(sigma, average)
        dd = -(dy * v).sum(1, keepdim=True) / (d * d)  # (N, 1, H, W)
        dd = torch.where(d > self.epsilon, dd, 0)
        is_local = sigma >= average
        daverage = torch.where(is_local, 0, dd).mean((2, 3), keepdim=True)
        dsigma = torch.where(is_local, dd, 0) + daverage
        ratio = torch.where(sigma > 0, dsigma / sigma, 0)  # d(sqrt s) = ds / (2 sigma), and ds = 2 v dv
        dv = dy / d + v * self._window_sum(ratio / total_weight)
        return dv - self._window_sum(dv.sum(1, keepdim=True) / total_weight), {}

    def _divisor(self, deviation: Tensor, average: Tensor) -> Tensor:
        return torch.maximum(deviation, average).clamp_min(self.epsilon)

    def _window_sum(self, plane: Tensor) -> Tensor:
        """Return the Gaussian-weighted sums around each pixel of (N, 1, H, W), with zeros beyond the image."""
        radius = self.size // 2
        offsets = torch.arange(-radius, radius + 1, dtype=plane.dtype, device=plane.device)
        weights = torch.exp(-0.5 * (offsets / (self.size / 4)) ** 2)  # a standard deviation of a quarter of the window
        rows = F.conv2d(plane, weights.view(1, 1, -1, 1), padding=(radius, 0))
        return F.conv2d(rows, weights.view(1, 1, 1, -1), padding=(0, radius))

    def _window_mass(self, x: Tensor) -> Tensor:
        """Return the sum of the weights inside the image, over all channels: (1, 1, H, W)."""
        return x.shape[1] * self._window_sum(x.new_ones(1, 1, *x.shape[2:]))
