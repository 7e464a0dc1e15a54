"""Batch normalization in evaluation: a factor and a summand for each channel."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.fuse.inference.activations import OVER
from pellucid.layers.base import Layer, Params
from pellucid.layers.batchnorm import BatchNorm


def widened(x: Tensor) -> Tensor:
    """Return x in the precision to fold in: float64, but float32 on Apple GPUs, which have nothing wider."""
    return x.float() if x.device.type == "mps" else x.double()


def scale_and_shift(norm: BatchNorm, params: Params) -> tuple[Tensor, Tensor]:
    """Return w / σ and b - μ w / σ, (C,) each, widened."""
    weight, bias, mean, var = (widened(params[name]) for name in ("weight", "bias", "running_mean", "running_var"))
    scale = weight / torch.sqrt(var + norm.epsilon)
    return scale, bias - mean * scale


@dataclass(frozen=True)
class Affine:
    """Compute y = act(x scale + shift), per channel; `over`: into x's memory, which no other layer reads."""

    scale: Tensor  # (C,)
    shift: Tensor  # (C,)
    act: Layer | None
    over: bool

    def __call__(self, x: Tensor) -> Tensor:
        """Return y."""
        shape = (-1, *(1,) * (x.dim() - 2))
        scale, shift = self.scale.view(shape), self.shift.view(shape)
        if x.dtype is not scale.dtype:  # half precision, in which a mean far from 0 would drown the rest
            y = torch.addcmul(shift, x.to(scale.dtype), scale).to(x.dtype)
        else:
            y = torch.addcmul(shift, x, scale, out=x if self.over else None)
        return y if self.act is None else OVER[type(self.act)](self.act, y)
