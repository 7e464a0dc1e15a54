"""Arithmetic operators: sums, products and quotients with broadcasting, affine functions, powers, exp and limits."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Mode, Params, Trait
from pellucid.operators.base import TensorLayer, unbroadcast
from pellucid.operators.moves import InputCache, InputsCache

_Pair = tuple[Tensor, Tensor]


class ExponentialCache(NamedTuple):
    """Cache of Exponential: its output."""

    y: Tensor


@dataclass(frozen=True)
class Plus(TensorLayer):
    """Add two tensors, broadcast to a common shape: y = a + b. Add is for tensors of equal shapes."""

    # ADDITIVE: inputs add up to an output, so relevance is shared by their contributions.
    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.LINEAR | Trait.ADDITIVE | Trait.MULTIPLE_INPUTS

    def forward(self, params: Params, x: _Pair, mode: Mode) -> tuple[Tensor, InputsCache]:
        """Compute y = a + b."""
        return x[0] + x[1], InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[_Pair, Params]:
        """Compute da = db = dy, summed over broadcast axes."""
        a, b = cache.xs
        return (unbroadcast(dy, a), unbroadcast(dy, b)), {}


@dataclass(frozen=True)
class Minus(TensorLayer):
    """Subtract two tensors, broadcast to a common shape: y = a - b."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.LINEAR | Trait.ADDITIVE | Trait.MULTIPLE_INPUTS

    def forward(self, params: Params, x: _Pair, mode: Mode) -> tuple[Tensor, InputsCache]:
        """Compute y = a - b."""
        return x[0] - x[1], InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[_Pair, Params]:
        """Compute da = dy and db = -dy, summed over broadcast axes."""
        a, b = cache.xs
        return (unbroadcast(dy, a), unbroadcast(-dy, b)), {}


@dataclass(frozen=True)
class Times(TensorLayer):
    """Multiply two tensors, broadcast to a common shape: y = a b; for example a scale (C,) and tokens (N, T, C)."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.MULTIPLE_INPUTS

    def forward(self, params: Params, x: _Pair, mode: Mode) -> tuple[Tensor, InputsCache]:
        """Compute y = a b."""
        return x[0] * x[1], InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[_Pair, Params]:
        """Compute da = dy b and db = dy a, summed over broadcast axes."""
        a, b = cache.xs
        return (unbroadcast(dy * b, a), unbroadcast(dy * a, b)), {}


@dataclass(frozen=True)
class Over(TensorLayer):
    """Divide two tensors, broadcast to a common shape: y = a / b."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.MULTIPLE_INPUTS

    def forward(self, params: Params, x: _Pair, mode: Mode) -> tuple[Tensor, InputsCache]:
        """Compute y = a / b."""
        return x[0] / x[1], InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[_Pair, Params]:
        """Compute da = dy / b and db = -dy a / b², summed over broadcast axes."""
        a, b = cache.xs
        return (unbroadcast(dy / b, a), unbroadcast(-dy * a / (b * b), b)), {}


@dataclass(frozen=True)
class AffineMap(TensorLayer):
    """Multiply by a number and add a number: y = factor x + shift.

    A tuple has one number for each entry of the last axis, such as the units of several values.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.LINEAR | Trait.ELEMENTWISE

    factor: float | tuple[float, ...] = 1.0
    shift: float | tuple[float, ...] = 0.0

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute y = factor x + shift."""
        return x * _numbers(self.factor, x) + _numbers(self.shift, x), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = factor dy."""
        return dy * _numbers(self.factor, dy), {}


def _numbers(values: float | tuple[float, ...], like: Tensor) -> Tensor | float:
    return like.new_tensor(values) if isinstance(values, tuple) else values


@dataclass(frozen=True)
class Power(TensorLayer):
    """Raise to a power: y = x ** exponent."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.ELEMENTWISE

    exponent: float

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute y = x ** exponent."""
        return x**self.exponent, InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = exponent x ** (exponent - 1) dy; the derivative of a constant, exponent 0, is 0."""
        return dy * (self.exponent * cache.x ** (self.exponent - 1) if self.exponent else 0), {}


@dataclass(frozen=True)
class ToPower(TensorLayer):
    """Raise a tensor to the power of another, broadcast to a common shape: y = a ** b, for a of at least 0."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.MULTIPLE_INPUTS

    def forward(self, params: Params, x: _Pair, mode: Mode) -> tuple[Tensor, InputsCache]:
        """Compute y = a ** b."""
        return x[0] ** x[1], InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[_Pair, Params]:
        """Compute da = b a ** (b - 1) dy, 0 for b = 0, and db = log(a) a ** b dy, 0 for a = 0 and b of at least 0."""
        a, b = cache.xs
        da = torch.where(b == 0, 0, b * a ** (b - 1)) * dy
        db = torch.where((a == 0) & (b >= 0), 0, torch.xlogy(a**b, a)) * dy
        return (unbroadcast(da, a), unbroadcast(db, b)), {}


@dataclass(frozen=True)
class Exponential(TensorLayer):
    """Compute y = exp(x)."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.ELEMENTWISE

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, ExponentialCache]:
        """Compute y = exp(x)."""
        y = x.exp()
        return y, ExponentialCache(y)

    def backward(self, params: Params, cache: ExponentialCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = y dy."""
        return dy * cache.y, {}


@dataclass(frozen=True)
class Clip(TensorLayer):
    """Limit values to at least `low` and at most `high`; None means no limit. Where x equals a limit, dx = dy."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.ELEMENTWISE

    low: float | None = None
    high: float | None = None

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute y = min(max(x, low), high)."""
        return x.clamp(self.low, self.high), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy where low <= x <= high, else 0."""
        return dy * (cache.x == cache.x.clamp(self.low, self.high)), {}
