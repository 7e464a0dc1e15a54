"""Batch normalization.

Fused forms: KernelForm (fuse/kernel_form.py), NormActConv (fuse/recompute.py), DenseBlock (fuse/dense_block.py),
FrozenNorm (fuse/frozen.py) and SyncedNorm (fuse/parts.py) in training; Convolution and Affine (fuse/inference/runs.py)
in prediction.
"""
# Callers may not check argument types.
# pyright: reportUnnecessaryIsInstance=false

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_within
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class BatchCache(NamedTuple):
    """Cache of BatchNorm in training mode: its input, and each channel's mean and 1 / sqrt(σ² + ε)."""

    x: Tensor
    mean: Tensor  # (C,)
    invstd: Tensor  # (C,)


class RunningCache(NamedTuple):
    """Cache of BatchNorm in evaluation mode, which uses the running statistics: its input."""

    x: Tensor


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Normalize each channel, then scale and shift it: y = w x̂ + b, with x̂ = (x - μ) / sqrt(σ² + ε).

    x and y are (N, C) or (N, C, H, W). In training mode, μ and σ² are the mean and variance of the batch (over N, H,
    W); the buffers `running_mean` and `running_var` are moved by the fraction `momentum` towards the mean and the
    unbiased variance. In evaluation mode, μ and σ² are the buffers. The parameters are float32 even for a bfloat16 x.
    Source: Ioffe and Szegedy 2015, algorithms 1 and 2.
    """

    # NEW_OUTPUT and NEW_DX: newly allocated, so other layers may overwrite them.
    traits: ClassVar[Trait] = Trait.NORM | Trait.LEARNS | Trait.NEW_OUTPUT | Trait.NEW_DX
    buffers: ClassVar[tuple[str, ...]] = ("running_mean", "running_var")

    momentum: float = 0.1
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_within(self, 0.0, 1.0, momentum=self.momentum, epsilon=self.epsilon)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return `weight` of ones, `bias` of zeros, and buffers with mean 0 and variance 1."""
        if len(shape) not in (1, 3) or not all(isinstance(size, int) for size in shape):
            raise PellucidError(
                f"BatchNorm takes inputs of shape (channels,) or (channels, height, width), not {tuple(shape)}"
            )
        channels = shape[0]
        params = {
            "weight": torch.ones(channels),
            "bias": torch.zeros(channels),
            "running_mean": torch.zeros(channels),
            "running_var": torch.ones(channels),
        }
        return params, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, BatchCache | RunningCache]:
        """Compute y = w (x - μ) / sqrt(σ² + ε) + b, per channel."""
        channels = params["weight"].shape[0]
        if x.shape[1] != channels:  # PyTorch's kernel does not check this, and would read out of bounds
            raise PellucidError(
                f"BatchNorm with parameters for {channels} channels received an input of shape {tuple(x.shape)}; "
                "use the parameters of this network"
            )
        if x.numel() <= channels and mode.train:
            raise PellucidError(
                f"BatchNorm: an input of shape {tuple(x.shape)}, with at most one value per channel, has no variance "
                "to train on; each batch, and each shard of it, needs two examples"
            )
        if not x.numel():  # PyTorch's kernel would divide by the number of values
            return x, RunningCache(x)
        y, mean, invstd = torch.native_batch_norm(
            x,
            params["weight"],
            params["bias"],
            params["running_mean"],
            params["running_var"],
            mode.train,
            self.momentum,
            self.epsilon,
        )
        return y, BatchCache(x, mean, invstd) if mode.train else RunningCache(x)

    def backward(self, params: Params, cache: BatchCache | RunningCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dw = Σ dy x̂, db = Σ dy, and dx = w / sqrt(σ² + ε) (dy - db / m - x̂ dw / m).

        The sums run over the m values of a channel. In evaluation mode, where μ and σ² do not depend on x,
        dx = w / sqrt(σ² + ε) dy. Source: Ioffe and Szegedy 2015, the chain rule of section 3.
        """
        weight = params["weight"]
        if not dy.numel():
            return dy, {name: torch.zeros_like(params[name]) for name in ("weight", "bias")}
        axes = [0, *range(2, dy.dim())]  # all axes except the channels
        shape = [-1] + [1] * (dy.dim() - 2)  # of statistics, (C, 1, 1), or (C,) for vectors
        if isinstance(cache, BatchCache):
            mean, invstd = cache.mean, cache.invstd
        else:
            mean, invstd = params["running_mean"], torch.rsqrt(params["running_var"] + self.epsilon)
        g = dy.to(weight.dtype)
        normalized = (cache.x - mean.view(shape)) * invstd.view(shape)  # x̂
        dweight = (g * normalized).sum(axes)
        dbias = g.sum(axes)
        if isinstance(cache, BatchCache):
            n_values = dy.numel() // len(weight)  # m
            g = g - (dbias.view(shape) + normalized * dweight.view(shape)) / n_values
        dx = (weight * invstd).view(shape) * g
        return dx.to(dy.dtype), {"weight": dweight, "bias": dbias}
