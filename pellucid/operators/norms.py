"""Normalizations whose weight and bias are inputs, or absent.

Fused form: KernelForm (fuse/kernel_form.py) in training.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Mode, Params, Shape, Trait
from pellucid.layers.batchnorm import BatchCache, BatchNorm, RunningCache
from pellucid.layers.windows import sum_dtype
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
        y, mean, invstd = torch.native_layer_norm(xs[0], self.shape, *weight_and_bias(xs), self.epsilon)
        return y, NormalizeCache(xs, mean, invstd)

    def backward(self, params: Params, cache: NormalizeCache, dy: Tensor) -> tuple[Any, Params]:
        """Compute dw = Σ dy x̂, db = Σ dy, and dx = (g - mean(g) - x̂ mean(g x̂)) / sqrt(σ² + ε), g = w dy."""
        x, n_axes = cache.xs[0], len(self.shape)
        axes = tuple(range(x.dim() - n_axes, x.dim()))
        return _gradients(cache, dy, x.shape, cache.mean.shape, self.shape, axes), {}


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
        outputs = torch.native_group_norm(xs[0], *weight_and_bias(xs), *axis_sizes(xs[0]), self.groups, self.epsilon)
        return outputs[0], NormalizeCache(xs, *outputs[1:])

    def backward(self, params: Params, cache: NormalizeCache, dy: Tensor) -> tuple[Any, Params]:
        """Compute dw = Σ dy x̂, db = Σ dy, and dx = (g - mean(g) - x̂ mean(g x̂)) / sqrt(σ² + ε), g = w dy."""
        n, channels, *other_sizes = cache.xs[0].shape
        size = channels // self.groups  # channels of a group
        ones = (1,) * len(other_sizes)
        shape = n, self.groups, size, *other_sizes
        axes = tuple(range(2, len(shape)))
        return _gradients(cache, dy, shape, (n, self.groups, 1, *ones), (1, self.groups, size, *ones), axes), {}


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
        y, mean, invstd = torch.native_batch_norm(xs[0], *weight_and_bias(xs), None, None, True, 0.0, self.epsilon)
        return y, NormalizeCache(xs, mean, invstd)

    def backward(self, params: Params, cache: NormalizeCache, dy: Tensor) -> tuple[Any, Params]:
        """Compute dw = Σ dy x̂, db = Σ dy, and dx = (g - mean(g) - x̂ mean(g x̂)) / sqrt(σ² + ε), g = w dy."""
        x = cache.xs[0]
        channels_shape = 1, x.shape[1], *(1,) * (x.dim() - 2)
        axes = 0, *range(2, x.dim())
        return _gradients(cache, dy, x.shape, channels_shape, channels_shape, axes), {}


@dataclass(frozen=True)
class UnscaledBatchNorm(BatchNorm):
    """BatchNorm without a scale and a shift: y = (x - μ) / sqrt(σ² + ε)."""

    # NEW_OUTPUT and NEW_DX: newly allocated, so other layers may overwrite them.
    traits: ClassVar[Trait] = Trait.NORM | Trait.NEW_OUTPUT | Trait.NEW_DX

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return buffers with mean 0 and variance 1."""
        params, out = super().init(shape, rng)
        return {name: params[name] for name in self.buffers}, out

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, BatchCache | RunningCache]:
        """Compute y = (x - μ) / sqrt(σ² + ε), per channel."""
        return super().forward(with_scale_1(params), x, mode)

    def backward(self, params: Params, cache: BatchCache | RunningCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = (dy - mean(dy) - x̂ mean(dy x̂)) / sqrt(σ² + ε), or dy / sqrt(σ² + ε) in evaluation mode."""
        return super().backward(with_scale_1(params), cache, dy)[0], {}


def with_scale_1(params: Params) -> Params:
    """Return the parameters of BatchNorm with the scale 1 and the shift 0, from running statistics."""
    mean = params["running_mean"]
    return {**params, "weight": torch.ones_like(mean), "bias": torch.zeros_like(mean)}


def _inputs(x: Any) -> tuple[Tensor, ...]:
    """Return the inputs as a tuple."""
    return x if isinstance(x, tuple) else (x,)


def weight_and_bias(xs: tuple[Tensor, ...]) -> tuple[Tensor | None, Tensor | None]:
    """Return the weight and the bias among the inputs, or None if they are absent."""
    return xs[1] if len(xs) > 1 else None, xs[2] if len(xs) > 2 else None


def axis_sizes(x: Tensor) -> tuple[int, int, int]:
    """Return the numbers of examples, of channels, and of values in a channel."""
    return x.shape[0], x.shape[1], math.prod(x.shape[2:])


def _gradients(
    cache: NormalizeCache,
    dy: Tensor,
    shape: tuple[int, ...],
    statistics_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    normalized_axes: tuple[int, ...],
) -> Any:
    """Return the gradients with respect to the inputs: a tensor for one input, else a tuple.

    The formula is computed with x and dy in the given `shape`, in which all values of one mean lie along
    `normalized_axes`, and with the statistics and the weight in shapes that are broadcast to it.
    """
    x, *affine = cache.xs
    exact_dtype = sum_dtype(x.dtype)
    dy_exact = dy.to(exact_dtype).reshape(shape)
    invstd = cache.invstd.reshape(statistics_shape)
    normalized = (x.to(exact_dtype).reshape(shape) - cache.mean.reshape(statistics_shape)) * invstd  # x̂
    g = dy_exact * affine[0].reshape(weight_shape) if affine else dy_exact
    dx = invstd * (
        g - g.mean(normalized_axes, keepdim=True) - normalized * (g * normalized).mean(normalized_axes, keepdim=True)
    )
    sums = (dy_exact * normalized, dy_exact)[: len(affine)]  # dw and db, before they are summed
    dparams = [
        values.sum_to_size(weight_shape).reshape(part.shape).to(part.dtype)
        for values, part in zip(sums, affine, strict=True)
    ]
    dx = dx.reshape(x.shape).to(x.dtype)
    return (dx, *dparams) if affine else dx
