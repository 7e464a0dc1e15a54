"""Local response normalization."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers.base import Layer, Mode, Params, Shape, Trait
from pellucid.layers.checks import check_image_shape
from pellucid.settings.checks import check_whole, check_within


class LocalResponseNormCache(NamedTuple):
    """Cache of LocalResponseNorm: its input, and the divisor d before it is raised to the power beta."""

    x: Tensor  # (N, C, H, W)
    divisor: Tensor  # (N, C, H, W): d = k + alpha / size Σ x²


@dataclass(frozen=True)
class LocalResponseNorm(Layer):
    """Divide each value by a norm over neighbouring channels: y = x / d^beta, d = k + alpha / size Σ x².

    x and y are (N, C, H, W); the sum runs over `size` channels, starting at c - floor(size / 2), at the same pixel.
    Source: Krizhevsky, Sutskever and Hinton 2012, section 3.3 (which writes alpha for alpha / size).
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
        before = self.size // 2
        divisor = self.k + self.alpha / self.size * _window_sum(x * x, before, self.size - 1 - before)
        return x * divisor**-self.beta, LocalResponseNormCache(x, divisor)

    def backward(self, params: Params, cache: LocalResponseNormCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy / d^beta - 2 alpha beta / size x Σ' dy x / d^(beta + 1).

        Σ' is the sum over the channels c' whose Σ contains channel c: its window is mirrored.
        """
        x, divisor = cache
        before = self.size // 2
        power = divisor**-self.beta
        weighted = _window_sum(dy * x * power / divisor, self.size - 1 - before, before)
        return dy * power - 2 * self.alpha * self.beta / self.size * x * weighted, {}


def _window_sum(x: Tensor, before: int, after: int) -> Tensor:
    """Sum each channel of (N, C, H, W) with up to `before` channels before it and up to `after` channels after it."""
    channels = x.shape[1]
    padded = F.pad(x, (0, 0, 0, 0, before, after))
    total = padded[:, :channels]
    for shift in range(1, before + after + 1):
        total = total + padded[:, shift : shift + channels]
    return total
