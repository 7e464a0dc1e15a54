"""User-defined layers and losses with common mistakes, each with a correct variant."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid import Loss
from pellucid.layers.base import Layer, Mode, Params, expanded_zeros


@dataclass(frozen=True)
class SameShape(Layer):
    """A layer without parameters whose output has the shape of its input."""

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        return {}, shape


@dataclass(frozen=True)
class SoftmaxOver(SameShape):
    """A softmax over an axis: 0 is the batch, 1 the classes."""

    axis: int

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        y = x.softmax(self.axis)
        return y, (y,)

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        (y,) = cache
        return y * (dy - (y * dy).sum(self.axis, keepdim=True)), {}


@dataclass(frozen=True)
class Rounded(SameShape):
    """Rounding to multiples of 1/2; `straight`: with the gradient of the identity instead of 0."""

    straight: bool

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        return (x * 2).round() / 2, (expanded_zeros(x),)

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        return (dy if self.straight else torch.zeros_like(dy)), {}


@dataclass(frozen=True)
class Squared(Loss):
    """The mean squared error; `broadcast`: over all pairs (N, N) of outputs (N, 1) and targets (N,), by mistake."""

    broadcast: bool

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        difference = y - (target if self.broadcast else target.reshape(y.shape))  # (N, N) or (N, 1)
        return difference.square().mean(), 2 * difference.mean(1, keepdim=True) / len(y)


@dataclass(frozen=True)
class Weighted(Loss):
    """Cross-entropy weighted by class: the target of one example only scales the gradients of the others."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        weight = (1.0 + target)[:, None] / (1.0 + target).sum()
        hot = torch.nn.functional.one_hot(target, y.shape[1])
        return -(hot * y.log_softmax(1) * weight).sum(), (y.softmax(1) - hot) * weight
