"""Fused forms of activations, computed in place in memory that no other layer reads.

Tests: tests/fuse/test_forms.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.fuse.context import FusedForm
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.layers.leakyrelu import LeakyReLU
from pellucid.layers.relu import ReLU
from pellucid.layers.relu6 import ReLU6
from pellucid.layers.sigmoid import Sigmoid
from pellucid.layers.tanh import Tanh

aten = torch.ops.aten


class OutputCache(NamedTuple):
    """The cache of these activations: their output."""

    y: Tensor


class ActivationKernels(NamedTuple):
    """The kernels of one activation."""

    forward: Callable[[Tensor], Tensor]  # returns y for x, in new memory
    forward_inplace: Callable[[Tensor], Tensor]  # returns y for x, in x's memory
    backward: Callable[[Tensor, Tensor], Tensor]  # returns dx for dy and y, in new memory
    backward_inplace: Callable[[Tensor, Tensor], Tensor]  # returns dx for dy and y, in dy's memory


KERNELS: dict[type[Layer], ActivationKernels] = {
    ReLU: ActivationKernels(
        torch.relu,
        torch.relu_,
        lambda dy, y: aten.threshold_backward(dy, y, 0),
        lambda dy, y: aten.threshold_backward.grad_input(dy, y, 0, grad_input=dy),
    ),
    ReLU6: ActivationKernels(
        lambda x: aten.hardtanh(x, 0, 6),
        lambda x: aten.hardtanh_(x, 0, 6),
        lambda dy, y: aten.hardtanh_backward(dy, y, 0, 6),
        lambda dy, y: aten.hardtanh_backward.grad_input(dy, y, 0, 6, grad_input=dy),
    ),
    Sigmoid: ActivationKernels(
        torch.sigmoid,
        torch.sigmoid_,
        aten.sigmoid_backward.default,
        lambda dy, y: aten.sigmoid_backward.grad_input(dy, y, grad_input=dy),
    ),
    Tanh: ActivationKernels(
        torch.tanh,
        torch.tanh_,
        aten.tanh_backward.default,
        lambda dy, y: aten.tanh_backward.grad_input(dy, y, grad_input=dy),
    ),
}


# Activations whose only cost is reading and writing memory, so y may be recomputed in the backward pass.
CHEAP_ACTIVATIONS: tuple[type[Layer], ...] = (ReLU, ReLU6)


@dataclass(frozen=True)
class FusedActivation(Layer):
    """Replace a ReLU, ReLU6, Sigmoid or Tanh."""

    kind: type[Layer]
    overwrite_x: bool  # whether y is written into x's memory
    overwrite_dy: bool  # whether dx is written into dy's memory

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, OutputCache]:
        """Compute y, in x's memory if `overwrite_x`."""
        kernels = KERNELS[self.kind]
        y = kernels.forward_inplace(x) if self.overwrite_x else kernels.forward(x)
        return y, OutputCache(y)

    def backward(self, params: Params, cache: OutputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx from dy and y, in dy's memory if `overwrite_dy`."""
        kernels = KERNELS[self.kind]
        return (kernels.backward_inplace if self.overwrite_dy else kernels.backward)(dy, cache.y), {}


@dataclass(frozen=True)
class FusedLeakyReLU(FusedForm):
    """Replace a LeakyReLU."""

    layer: LeakyReLU
    overwrite_x: bool  # whether y is written into x's memory
    overwrite_dy: bool  # whether dx is written into dy's memory

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, OutputCache]:
        """Compute y, in x's memory if `overwrite_x`."""
        y = F.leaky_relu(x, self.layer.slope, inplace=self.overwrite_x)
        return y, OutputCache(y)

    def backward(self, params: Params, cache: OutputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx from dy and y, which has the sign of x, in dy's memory if `overwrite_dy`."""
        slope = self.layer.slope
        if self.overwrite_dy:
            return aten.leaky_relu_backward.grad_input(dy, cache.y, slope, True, grad_input=dy), {}
        return aten.leaky_relu_backward(dy, cache.y, slope, True), {}
