"""Normalized activations recomputed in the backward pass instead of cached.

Tests: tests/fuse/test_fuse.py.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.fuse.activations import KERNELS
from pellucid.fuse.kernels import avg_pool2d_gradients, batch_norm_gradients
from pellucid.layers.avgpool2d import AvgPool2d, AvgPool2dCache
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.layers.batchnorm import BatchCache, BatchNorm, RunningCache
from pellucid.layers.conv2d import Conv2dCache


@dataclass(frozen=True)
class NormActConv(Layer):
    """Replace consecutive BatchNorm, ReLU or ReLU6, optional AvgPool2d, and Conv2d layers.

    Separate layers would each cache their input. This layer caches only the norm's input, and recomputes the other
    inputs in the backward pass. For ResNet-20, this takes about 3 % of a step and saves a fifth of the memory.
    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".
    """

    names: tuple[str, ...]  # the layers' names in the params of the Sequential
    norm: BatchNorm
    act: type[Layer]
    pool: AvgPool2d | None
    conv: Layer  # a Conv2d, or its replacement

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise the layers."""
        params: Params = self._empty_params()
        params[self.names[0]], shape = self.norm.init(shape, rng)
        if self.pool is not None:
            _, shape = self.pool.init(shape, rng)
        params[self.names[-1]], shape = self.conv.init(shape, rng)
        return params, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, BatchCache | RunningCache]:
        """Normalize, rectify in place, pool and convolve; return the norm's cache."""
        y, norm_cache = self.norm.forward(params[self.names[0]], x, mode)
        y = self._pool(KERNELS[self.act].forward_inplace(y), mode)
        return self.conv.forward(params[self.names[-1]], y, mode)[0], norm_cache

    def backward(self, params: Params, cache: BatchCache | RunningCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Recompute the convolution's input, then propagate back through the layers."""
        norm, conv = self.names[0], self.names[-1]
        kernels = KERNELS[self.act]
        y = kernels.forward_inplace(normalize(self.norm, params[norm], cache))
        dy, dconv = self.conv.backward(params[conv], Conv2dCache(self._pool(y, Mode())), dy)
        if self.pool is not None:
            dy, _ = avg_pool2d_gradients(self.pool, {}, AvgPool2dCache(y), dy)
        dy = kernels.backward_inplace(dy, y)
        del y
        dx, dnorm = batch_norm_gradients(self.norm, params[norm], cache, dy)
        return dx, self._empty_params() | {norm: dnorm, conv: dconv}

    def _pool(self, y: Tensor, mode: Mode) -> Tensor:
        return y if self.pool is None else self.pool.forward({}, y, mode)[0]

    def _empty_params(self) -> Params:
        """Return the empty params of the activation and the pool."""
        return {name: {} for name in self.names[1:-1]}


def normalize(norm: BatchNorm, params: Params, cache: BatchCache | RunningCache, out: Tensor | None = None) -> Tensor:
    """Return the output of `norm` by y = x (w / σ) + (b - μ w / σ), which is three times as fast as PyTorch's kernel.

    The batch statistics in a BatchCache are used, otherwise the running statistics. out: the tensor to write y into;
    ignored for bfloat16.
    """
    if isinstance(cache, BatchCache):
        mean, invstd = cache.mean, cache.invstd
    else:
        mean, invstd = params["running_mean"], torch.rsqrt(params["running_var"] + norm.epsilon)
    weight, bias = params["weight"], params["bias"]
    if cache.x.dtype is torch.bfloat16:  # x times float32 parameters would need twice the memory
        # in evaluation mode, without a momentum and without cuDNN; the variance is 1 / invstd² - ε
        return torch.batch_norm(cache.x, weight, bias, mean, invstd**-2 - norm.epsilon, False, 0.0, norm.epsilon, False)
    shape = (-1, *(1,) * (cache.x.dim() - 2))
    scale = (invstd * weight).view(shape)  # (C, 1, 1), or (C,) for vectors
    shift = bias.view(shape) - mean.view(shape) * scale
    return torch.addcmul(shift, cache.x, scale, out=out)
