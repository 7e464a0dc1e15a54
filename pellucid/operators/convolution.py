"""Convolution whose kernels are an input."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.layers.base import Mode, Params, Trait
from pellucid.operators.base import TensorLayer
from pellucid.operators.moves import InputsCache


@dataclass(frozen=True)
class Convolve(TensorLayer):
    """Cross-correlate x with kernels that are an input, and add a bias, an optional third input: y = w ⋆ x + b.

    x is (N, C, ...), w is (filters, C / groups, ...), b is (filters,), for any number of axes after the channels;
    stride, padding and dilation have one number for each of them. With `transposed`, w is (C, filters / groups, ...)
    and y is the transposed convolution. Conv2d has its own weight; this layer is for weights that are computed, such as
    standardized ones, or used by several modules, and for sequences.
    Source: Dumoulin and Visin 2016, relationships 6 and 14.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.MULTIPLE_INPUTS

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    _: KW_ONLY
    transposed: bool = False
    output_padding: tuple[int, ...] = ()

    def forward(self, params: Params, x: tuple[Tensor, ...], mode: Mode) -> tuple[Tensor, InputsCache]:
        """Compute y[n, f] = b[f] + sum over c of w[f, c] ⋆ x[n, c], where ⋆ is cross-correlation."""
        values, weight, *bias = x
        return torch.convolution(values, weight, bias[0] if bias else None, *self._settings()), InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[Tensor, ...], Params]:
        """Compute dx = dy convolved with the flipped w, dw = x correlated with dy, db = the sum of dy.

        PyTorch computes all three in `torch.ops.aten.convolution_backward`.
        """
        x, weight, *bias = cache.xs
        output_mask = (True, True, bool(bias))
        gradients = torch.ops.aten.convolution_backward(
            dy, x, weight, list(bias[0].shape) if bias else None, *self._settings(), output_mask
        )
        return tuple(gradients[: len(cache.xs)]), {}

    def _settings(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], bool, tuple[int, ...], int]:
        output_padding = self.output_padding or (0,) * len(self.stride)
        return self.stride, self.padding, self.dilation, self.transposed, output_padding, self.groups
