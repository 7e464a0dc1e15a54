"""Local response normalization."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.settings.checks import check_whole, check_within
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait
from pellucid.layers.checks import check_image_shape


class LocalResponseNormCache(NamedTuple):
    """Cache of LocalResponseNorm: its input, and the divisor d before it is raised to the power beta."""

    x: Tensor  # (N, C, H, W)
    divisor: Tensor  # (N, C, H, W): d = k + alpha / size Σ x²


@dataclass(frozen=True)
class LocalResponseNorm(Layer):
    """Divide each value by a norm over neighbouring channels: y = x / d^beta with d = k + alpha / size Σ x².

    x and y are (N, C, H, W). For channel c, the sum is over the values at the same pixel in `size` channels, beginning
    at c - floor(size / 2). Source: Krizhevsky, Sutskever and Hinton 2012, section 3.3, where alpha is our alpha / size.
    """

    traits: ClassVar[Trait] = Trait.NORM | Trait.CONTRAST_NORM

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_whole(self, size=self.size)
        check_within(self, 0.0, float("inf"), alpha=self.alpha, beta=self.beta, k=self.k)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, check_image_shape(self, shape)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, LocalResponseNormCache]:
        """Compute y = x / d^beta."""
        n_before = self.size // 2
        divisor = self.k + self.alpha / self.size * _window_sum(x * x, n_before, self.size - 1 - n_before)
        return x * divisor**-self.beta, LocalResponseNormCache(x, divisor)

    def backward(self, params: Params, cache: LocalResponseNormCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy / d^beta - 2 alpha beta / size x Σ' dy x / d^(beta + 1).

        Σ' is the sum over the channels whose Σ contains channel c; its window is the mirrored window of Σ.
        """
        x, divisor = cache
        n_before = self.size // 2
        scale = divisor**-self.beta
        weighted_sum = _window_sum(dy * x * scale / divisor, self.size - 1 - n_before, n_before)
        return dy * scale - 2 * self.alpha * self.beta / self.size * x * weighted_sum, {}


def _window_sum(x: Tensor, n_before: int, n_after: int) -> Tensor:
    """Add to each channel of (N, C, H, W) up to `n_before` channels before it and up to `n_after` channels after it."""
    channels = x.shape[1]
    padded = F.pad(x, (0, 0, 0, 0, n_before, n_after))
    total = padded[:, :channels]
    for shift in range(1, n_before + n_after + 1):
        total = total + padded[:, shift : shift + channels]
    return total
