"""Group normalization.

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
from pellucid.base.text import plural
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait, memory_format


class GroupNormCache(NamedTuple):
    """Cache of GroupNorm: its input, and the mean and 1 / sqrt(σ² + ε) of each group of each example."""

    x: Tensor
    mean: Tensor  # (N, groups)
    invstd: Tensor  # (N, groups)


@dataclass(frozen=True)
class GroupNorm(Layer):
    """Normalize each group of channels of each example to mean 0 and variance 1, then scale and shift each channel.

    y = w x̂ + b with x̂ = (x - μ) / sqrt(σ² + ε). μ and σ² are over the C / groups channels of a group and all pixels.
    x and y are (N, C) or (N, C, H, W), `weight` and `bias` are (C,); they are float32 even for a bfloat16 x.
    Source: Wu and He 2018, equations 1 to 3 and 7.
    """

    traits: ClassVar[Trait] = Trait.NORM | Trait.LEARNS

    groups: int
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_whole(self, groups=self.groups)
        check_within(self, 0.0, 1.0, epsilon=self.epsilon)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return `weight` of ones and `bias` of zeros."""
        if len(shape) not in (1, 3) or not all(isinstance(size, int) for size in shape):
            raise PellucidError(
                f"GroupNorm takes inputs of shape (channels,) or (channels, height, width), not {tuple(shape)}"
            )
        if shape[0] % self.groups:
            raise PellucidError(f"GroupNorm: {plural(shape[0], 'channel')}, no multiple of groups={self.groups}")
        if math.prod(shape) == self.groups:
            raise PellucidError(
                f"GroupNorm: with groups={self.groups} each group of {tuple(shape)} is one value, whose variance is 0; "
                "use fewer groups"
            )
        return {"weight": torch.ones(shape[0]), "bias": torch.zeros(shape[0])}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, GroupNormCache]:
        """Compute y = w (x - μ) / sqrt(σ² + ε) + b, per group."""
        return group_norm(params, x, self.groups, self.epsilon)

    def backward(self, params: Params, cache: GroupNormCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dw = Σ dy x̂, db = Σ dy, and dx = (g - mean(g) - x̂ mean(g x̂)) / sqrt(σ² + ε) with g = w dy.

        The sums are over the examples and pixels of a channel, the means over the values of a group of an example.
        """
        return group_norm_backward(params, cache, dy, self.groups)


def group_norm(params: Params, x: Tensor, groups: int, epsilon: float) -> tuple[Tensor, GroupNormCache]:
    """Return (y, cache), where y is x normalized by group, then scaled and shifted if `params` contains `weight`."""
    x = x.contiguous(memory_format=kernel_format(x))
    sizes = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    y, mean, invstd = torch.native_group_norm(x, params.get("weight"), params.get("bias"), *sizes, groups, epsilon)
    return y, GroupNormCache(x, mean, invstd)


def group_norm_backward(params: Params, cache: GroupNormCache, dy: Tensor, groups: int) -> tuple[Tensor, Params]:
    """Return (dx, dparams), the gradients of `group_norm`."""
    # Axis 1 becomes two axes, (N, groups, C / groups, ...); the means are over all axes after the groups.
    x = torch.unflatten(cache.x, 1, (groups, -1))
    ones = [1] * (x.dim() - 2)
    mean = cache.mean.view(-1, groups, *ones)
    invstd = cache.invstd.view(-1, groups, *ones)
    dy_exact = torch.unflatten(dy.to(mean.dtype), 1, (groups, -1))
    normalized = (x - mean) * invstd  # x̂
    g = dy_exact
    dparams: Params = {}
    if "weight" in params:
        weight: Tensor = params["weight"]
        g = weight.view(groups, -1, *ones[1:]) * dy_exact
        example_axes = [0, *range(3, x.dim())]
        dparams["weight"] = (dy_exact * normalized).sum(example_axes).flatten()  # (C,)
        dparams["bias"] = dy_exact.sum(example_axes).flatten()  # (C,)
    group_axes = list(range(2, x.dim()))
    dx = invstd * (g - g.mean(group_axes, True) - normalized * (g * normalized).mean(group_axes, True))
    return dx.flatten(1, 2).to(dy.dtype), dparams


def kernel_format(x: Tensor) -> torch.memory_format:
    """Return the memory format that the kernels assume: that of x on CPUs, contiguous on other devices."""
    return memory_format(x) if x.device.type == "cpu" else torch.contiguous_format
