"""Layer normalization.

Fused form: KernelForm (fuse/kernel_form.py) in training.
"""
# Callers may not check argument types.
# pyright: reportUnnecessaryIsInstance=false

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_whole, check_within
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class LayerNormCache(NamedTuple):
    """Cache of LayerNorm: its input, and the mean and 1 / sqrt(σ² + ε) of each example (or row)."""

    x: Tensor
    mean: Tensor  # (N, ..., 1), with size 1 for each normalized axis
    invstd: Tensor  # the shape of `mean`


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Normalize each example to mean 0 and variance 1, then scale and shift each value: y = w x̂ + b.

    x̂ = (x - μ) / sqrt(σ² + ε). μ and σ² are computed over the last axes, whose sizes are `shape` (by default all axes
    except the batch axis); `weight` and `bias` have this shape, and are float32 even for a bfloat16 x.
    Source: Ba, Kiros and Hinton 2016, equation 3.
    """

    traits: ClassVar[Trait] = Trait.NORM | Trait.LEARNS

    shape: tuple[int, ...] | None = None
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_within(self, 0.0, 1.0, epsilon=self.epsilon)
        if self.shape is not None and not isinstance(self.shape, tuple):
            raise PellucidError(f"LayerNorm: shape must be a tuple, not {self.shape!r}")
        for size in self.shape or ():
            check_whole(self, shape=size)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return `weight` of ones and `bias` of zeros."""
        normalized_shape = shape if self.shape is None else self.shape
        if not normalized_shape or shape[-len(normalized_shape) :] != normalized_shape:
            raise PellucidError(f"LayerNorm: {tuple(shape)} does not end in shape={self.shape}")
        if math.prod(normalized_shape) == 1:
            raise PellucidError(f"LayerNorm: shape {tuple(shape)} has one value per sample, whose variance is 0")
        return {"weight": torch.ones(normalized_shape), "bias": torch.zeros(normalized_shape)}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, LayerNormCache]:
        """Compute y = w (x - μ) / sqrt(σ² + ε) + b."""
        weight = params["weight"]
        y, mean, invstd = torch.native_layer_norm(x, weight.shape, weight, params["bias"], self.epsilon)
        return y, LayerNormCache(x, mean, invstd)

    def backward(self, params: Params, cache: LayerNormCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dw = Σ dy x̂, db = Σ dy, and dx = (g - mean(g) - x̂ mean(g x̂)) / sqrt(σ² + ε) with g = w dy.

        The sums are over the examples (and rows), the means over the values of one example (or row).
        """
        x, mean, invstd = cache
        weight = params["weight"]
        normalized_axes = list(range(x.dim() - weight.dim(), x.dim()))
        dy_exact = dy.to(weight.dtype)
        normalized = (x - mean) * invstd  # x̂
        g = weight * dy_exact
        dx = invstd * (g - g.mean(normalized_axes, True) - normalized * (g * normalized).mean(normalized_axes, True))
        dweight = (dy_exact * normalized).sum_to_size(weight.shape)
        dbias = dy_exact.sum_to_size(weight.shape)
        return dx.to(dy.dtype), {"weight": dweight, "bias": dbias}
