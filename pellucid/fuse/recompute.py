"""Normalized activations that are computed again on the way back instead of being kept."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.layers.batchnorm import BatchCache, BatchNorm, RunningCache
from pellucid.layers.conv2d import Conv2dCache

aten = torch.ops.aten


@dataclass(frozen=True)
class NormReLUConv(Layer):
    """Stand for BatchNorm, ReLU and Conv2d in a row, whose `names` these are in the Sequential's own params.

    As written, both the norm's input and the convolution's are kept; here only the first is, and the second, a
    product, a sum and a comparison away from it, is computed again. It costs about 1 % of a step of ResNet-20 and
    saves a fifth of its memory. The idea is that of Chen et al. 2016, Training deep nets with sublinear memory cost.
    """

    names: tuple[str, str, str]
    norm: BatchNorm
    conv: Layer  # a Conv2d, or what stands for one

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise the three layers."""
        norm, act, conv = self.names
        params: Params = {act: {}}
        params[norm], shape = self.norm.init(shape, rng)
        params[conv], shape = self.conv.init(shape, rng)
        return params, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, BatchCache | RunningCache]:
        """Normalize, rectify in place, convolve; keep what the norm keeps."""
        norm, _, conv = self.names
        y, kept = self.norm.forward(params[norm], x, mode)
        return self.conv.forward(params[conv], y.relu_(), mode)[0], kept

    def backward(self, params: Params, cache: BatchCache | RunningCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute the convolution's input again, then take the three layers back."""
        norm, act, conv = self.names
        y = normalized(self.norm, params[norm], cache).relu_()
        dy, dconv = self.conv.backward(params[conv], Conv2dCache(y), dy)
        dy = aten.threshold_backward.grad_input(dy, y, 0, grad_input=dy)
        del y
        dx, dnorm = self.norm.backward(params[norm], cache, dy)
        return dx, {norm: dnorm, act: {}, conv: dconv}


def normalized(norm: BatchNorm, params: Params, cache: BatchCache | RunningCache) -> Tensor:
    """Return what `norm` put out, in one pass: y = x (w / σ) + (b - μ w / σ), three times as fast as its own kernel."""
    if isinstance(cache, BatchCache):
        mean, invstd = cache.mean, cache.invstd
    else:
        mean, invstd = params["running_mean"], torch.rsqrt(params["running_var"] + norm.epsilon)
    weight, bias = params["weight"], params["bias"]
    if cache.x.dtype is torch.bfloat16:  # times float32 parameters it would be float32, and take twice the memory
        return torch.batch_norm(cache.x, weight, bias, mean, invstd**-2 - norm.epsilon, False, 0.0, norm.epsilon, False)
    scale = invstd * weight  # (C,)
    shift = bias - mean * scale  # (C,)
    return torch.addcmul(shift[:, None, None], cache.x, scale[:, None, None])
