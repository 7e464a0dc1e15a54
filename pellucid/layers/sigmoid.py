"""The logistic activation."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape


class SigmoidCache(NamedTuple):
    """Cache of Sigmoid: its output."""

    y: Tensor


@dataclass(frozen=True)
class Sigmoid(Layer):
    """Squash to (0, 1): y = 1 / (1 + exp(-x)), for any shape.

    Source: Nielsen 2015, equation 3.
    """

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, SigmoidCache]:
        """Compute y = 1 / (1 + exp(-x))."""
        y = torch.sigmoid(x)
        return y, SigmoidCache(y)

    def backward(self, params: Params, cache: SigmoidCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy y (1 - y)."""
        return dy * cache.y * (1 - cache.y), {}
