"""Normalizations whose weight and bias are inputs, or absent."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Mode, Params, Trait
from pellucid.operators.base import TensorLayer


class NormalizeCache(NamedTuple):
    """Cache of a normalization: its inputs, and the mean and 1 / sqrt(σ² + ε) of each normalized set of values."""

    xs: tuple[Tensor, ...]
    mean: Tensor
    invstd: Tensor


@dataclass(frozen=True)
class NormalizeLast(TensorLayer):
    """Normalize over the last axes, of sizes `shape`: y = x̂, w x̂ or w x̂ + b, for one, two or three inputs.

    x̂ = (x - μ) / sqrt(σ² + ε); w and b have the shape `shape`. LayerNorm has its own weight and bias.
    Source: Ba, Kiros and Hinton 2016, equation 3.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.NORM

    shape: tuple[int, ...]
    epsilon: float = 1e-5

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Tensor, NormalizeCache]:
        """Compute y = w (x - μ) / sqrt(σ² + ε) + b."""
        xs = _inputs(x)
        y, mean, invstd = torch.native_layer_norm(xs[0], self.shape, *_affine(xs), self.epsilon)
        return y, NormalizeCache(xs, mean, invstd)

    def backward(self, params: Params, cache: NormalizeCache, dy: Tensor) -> tuple[Any, Params]:
        """Compute dw = Σ dy x̂, db = Σ dy, and dx = (g - mean(g) - x̂ mean(g x̂)) / sqrt(σ² + ε), g = w dy."""
        x, mean, invstd = cache.xs[0], cache.mean, cache.invstd
        gradients = torch.ops.aten.native_layer_norm_backward(
            dy, x, self.shape, mean, invstd, *_affine(cache.xs), (True, len(cache.xs) > 1, len(cache.xs) > 2)
        )
        return _gradients(gradients, cache.xs), {}


@dataclass(frozen=True)
class NormalizeGroups(TensorLayer):
    """Normalize over groups of channels of each example: y = x̂, w x̂ or w x̂ + b, for one, two or three inputs.

    x is (N, C, ...), w and b are (C,). With as many groups as channels this is instance normalization (Ulyanov, Vedaldi
    and Lempitsky 2016). GroupNorm has its own weight and bias. Source: Wu and He 2018, equations 1 to 3 and 7.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.NORM

    groups: int
    epsilon: float = 1e-5

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Tensor, NormalizeCache]:
        """Compute y = w (x - μ) / sqrt(σ² + ε) + b, per group."""
        xs = tuple(part.contiguous() for part in _inputs(x))  # the kernels assume contiguous memory
        outputs = torch.native_group_norm(xs[0], *_affine(xs), *_sizes(xs[0]), self.groups, self.epsilon)
        return outputs[0], NormalizeCache(xs, *outputs[1:])

    def backward(self, params: Params, cache: NormalizeCache, dy: Tensor) -> tuple[Any, Params]:
        """Compute dw = Σ dy x̂, db = Σ dy, and dx = (g - mean(g) - x̂ mean(g x̂)) / sqrt(σ² + ε), g = w dy."""
        (x, *_), (weight, _), count = cache.xs, _affine(cache.xs), len(cache.xs)
        gradients = torch.ops.aten.native_group_norm_backward(
            dy.contiguous(), x, cache.mean, cache.invstd, weight, *_sizes(x), self.groups, (True, count > 1, count > 2)
        )
        return _gradients(gradients, cache.xs), {}


@dataclass(frozen=True)
class NormalizeChannels(TensorLayer):
    """Normalize each channel over all other axes: y = x̂, w x̂ or w x̂ + b, for one, two or three inputs.

    x is (N, C, ...), w and b are (C,). μ and σ² are computed from x in both modes, without running statistics. For
    example, weights (1, filters, values) are standardized before a convolution (Qiao et al. 2019, equation 7).
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.NORM

    epsilon: float = 1e-5

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Tensor, NormalizeCache]:
        """Compute y = w (x - μ) / sqrt(σ² + ε) + b, per channel."""
        xs = _inputs(x)
        y, mean, invstd = torch.native_batch_norm(xs[0], *_affine(xs), None, None, True, 0.0, self.epsilon)
        return y, NormalizeCache(xs, mean, invstd)

    def backward(self, params: Params, cache: NormalizeCache, dy: Tensor) -> tuple[Any, Params]:
        """Compute dw = Σ dy x̂, db = Σ dy, and dx = (g - mean(g) - x̂ mean(g x̂)) / sqrt(σ² + ε), g = w dy."""
        (x, *_), (weight, _), count = cache.xs, _affine(cache.xs), len(cache.xs)
        gradients = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, None, None, cache.mean, cache.invstd, True, self.epsilon, (True, count > 1, count > 2)
        )
        return _gradients(gradients, cache.xs), {}


def _inputs(x: Any) -> tuple[Tensor, ...]:
    """Return the inputs as a tuple."""
    return x if isinstance(x, tuple) else (x,)


def _affine(xs: tuple[Tensor, ...]) -> tuple[Tensor | None, Tensor | None]:
    """Return the weight and the bias among the inputs, or None if they are absent."""
    return xs[1] if len(xs) > 1 else None, xs[2] if len(xs) > 2 else None


def _sizes(x: Tensor) -> tuple[int, int, int]:
    """Return the numbers of examples, of channels, and of values in a channel."""
    return x.shape[0], x.shape[1], math.prod(x.shape[2:])


def _gradients(gradients: Any, xs: tuple[Tensor, ...]) -> Any:
    """Return the gradients with respect to the inputs: a tensor for one input, else a tuple."""
    return gradients[0] if len(xs) == 1 else tuple(gradients[: len(xs)])
