"""Convolution whose kernels are an input.

Fused form: KernelForm (fuse/kernel_form.py) in training.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers.base import Mode, Params, Trait
from pellucid.layers.conv2d import weight_gradient
from pellucid.operators.base import TensorLayer
from pellucid.operators.moves import InputsCache


@dataclass(frozen=True)
class Convolve(TensorLayer):
    """Cross-correlate x with kernels that are an input, and add a bias, an optional third input: y = w ⋆ x + b.

    x is (N, C, ...), w is (filters, C / groups, ...), b is (filters,), for any number of axes after the channels;
    stride, padding and dilation have one number for each of them. With `transposed`, w is (C, filters / groups, ...)
    and y is the transposed convolution. groups: 0 for as many as x has times the channels of w, such as one for each
    example, if the channels of all examples are in one axis; not with `transposed`. Conv2d has its own weight; this
    layer is for weights that are computed, such as standardized ones, or used by several modules, and for sequences.
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
        return torch.convolution(
            values, weight, bias[0] if bias else None, *self.settings(values, weight)
        ), InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[Tensor, ...], Params]:
        """Compute dx = the transposed convolution of dy with w, dw = x correlated with dy, db = the sum of dy.

        If y is the transposed convolution, dx is the convolution of dy, and x and dy exchange their places in dw.
        """
        x, weight, *bias = cache.xs
        kernel = weight.shape[2:]
        groups = self.settings(x, weight)[-1]
        edges = [padding for padding in reversed(self.padding) for _ in range(2)]  # of the last axis first
        if self.transposed:
            dx = torch.convolution(
                dy, weight, None, self.stride, self.padding, self.dilation, False, (0,) * len(kernel), groups
            )
            dx = dx[tuple(slice(size) for size in x.shape)]  # without windows that begin in the output padding
            dweight = weight_gradient(F.pad(dy, edges), x, kernel, self.stride, self.dilation, groups)
        else:
            padded = F.pad(x, edges)
            unread = tuple(  # values after the last window
                (size - d * (k - 1) - 1) % s
                for size, d, k, s in zip(padded.shape[2:], self.dilation, kernel, self.stride, strict=True)
            )
            dx = torch.convolution(dy, weight, None, self.stride, self.padding, self.dilation, True, unread, groups)
            dweight = weight_gradient(padded, dy, kernel, self.stride, self.dilation, groups)
        dbias = [dy.sum([0, *range(2, dy.dim())])] if bias else []
        return (dx, dweight, *dbias), {}

    def settings(
        self, x: Tensor, weight: Tensor
    ) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], bool, tuple[int, ...], int]:
        """Return the last arguments of PyTorch's convolutions for an input and kernels."""
        groups = self.groups or x.shape[1] // weight.shape[1]
        output_padding = self.output_padding or (0,) * len(self.stride)
        return self.stride, self.padding, self.dilation, self.transposed, output_padding, groups
