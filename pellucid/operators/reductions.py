"""Reductions over axes: mean, sum, maximum, Euclidean norm, logarithm of summed exponentials and variance.

axes: the indices of the reduced axes, counted from 0; negative ones are not supported. keep: PyTorch's `keepdim`,
whether the reduced axes remain in y, with size 1.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Mode, Params, Trait
from pellucid.operators.base import TensorLayer
from pellucid.operators.moves import InputCache


def _unsqueeze_reduced(dy: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    """Return dy with axes of size 1 for the reduced axes; keep: whether dy has them already."""
    for axis in () if keep else sorted(axes):
        dy = dy.unsqueeze(axis)
    return dy


@dataclass(frozen=True)
class Mean(TensorLayer):
    """Average over axes, which have size 1 in y with `keep`, and are dropped otherwise."""

    # ADDITIVE: inputs add up to an output, so relevance is shared by their contributions.
    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.LINEAR | Trait.ADDITIVE

    axes: tuple[int, ...]
    keep: bool = False

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute the mean."""
        return x.mean(self.axes, keepdim=self.keep), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy / (number of averaged values)."""
        x = cache.x
        divisor = math.prod(x.shape[axis] for axis in self.axes)
        return (_unsqueeze_reduced(dy, self.axes, self.keep) / divisor).expand(x.shape), {}


@dataclass(frozen=True)
class Sum(TensorLayer):
    """Sum over axes, which have size 1 in y with `keep`, and are dropped otherwise."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.LINEAR | Trait.ADDITIVE

    axes: tuple[int, ...]
    keep: bool = False

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute the sum."""
        return x.sum(self.axes, keepdim=self.keep), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dy for each summed value."""
        return _unsqueeze_reduced(dy, self.axes, self.keep).expand(cache.x.shape), {}


class ReducedCache(NamedTuple):
    """Cache of Largest, Length and LogSumExp: the input, and the output, whose reduced axes have size 1."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Largest(TensorLayer):
    """Compute the maximum over axes, which have size 1 in y with `keep`, and are dropped otherwise.

    Equal maxima receive equal parts of the gradient, as in torch.amax.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES

    axes: tuple[int, ...]
    keep: bool = False

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, ReducedCache]:
        """Compute the maximum."""
        y = x.amax(self.axes, keepdim=True)
        return y if self.keep else x.amax(self.axes), ReducedCache(x, y)

    def backward(self, params: Params, cache: ReducedCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy / (number of equal maxima) where x is the maximum, else 0."""
        is_largest = cache.x == cache.y
        return is_largest * (_unsqueeze_reduced(dy, self.axes, self.keep) / is_largest.sum(self.axes, keepdim=True)), {}


@dataclass(frozen=True)
class Length(TensorLayer):
    """Compute the Euclidean norm over axes, which have size 1 in y with `keep`, and are dropped otherwise.

    The gradient of a vector of zeros is 0, as in torch.linalg.vector_norm.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES

    axes: tuple[int, ...]
    keep: bool = False

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, ReducedCache]:
        """Compute y = sqrt(Σ x²)."""
        y = torch.linalg.vector_norm(x, dim=self.axes, keepdim=True)
        return y if self.keep else torch.linalg.vector_norm(x, dim=self.axes), ReducedCache(x, y)

    def backward(self, params: Params, cache: ReducedCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = x dy / y, and 0 where y = 0."""
        direction = torch.where(cache.y == 0, 0, cache.x / cache.y)
        return direction * _unsqueeze_reduced(dy, self.axes, self.keep), {}


@dataclass(frozen=True)
class LogSumExp(TensorLayer):
    """Compute log(Σ exp(x)) over axes, which have size 1 in y with `keep`, and are dropped otherwise."""

    traits: ClassVar[Trait] = Trait.ANY_AXES

    axes: tuple[int, ...]
    keep: bool = False

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, ReducedCache]:
        """Compute y = log(Σ exp(x))."""
        y = torch.logsumexp(x, self.axes, keepdim=True)
        return y if self.keep else torch.logsumexp(x, self.axes), ReducedCache(x, y)

    def backward(self, params: Params, cache: ReducedCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = exp(x - y) dy, the softmax of x times dy."""
        return (cache.x - cache.y).exp() * _unsqueeze_reduced(dy, self.axes, self.keep), {}


@dataclass(frozen=True)
class Variance(TensorLayer):
    """Compute the variance over axes, which have size 1 in y with `keep`, and are dropped otherwise.

    The divisor of the sum of squared deviations is the number of values minus `correction`.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES

    axes: tuple[int, ...]
    keep: bool = False
    correction: float = 1

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute y = Σ (x - μ)² / (n - correction)."""
        return x.var(self.axes, correction=self.correction, keepdim=self.keep), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = 2 (x - μ) dy / (n - correction)."""
        x = cache.x
        divisor = math.prod(x.shape[axis] for axis in self.axes) - self.correction
        scaled_dy = _unsqueeze_reduced(dy, self.axes, self.keep) * (2 / divisor)
        return (x - x.mean(self.axes, keepdim=True)) * scaled_dy, {}
