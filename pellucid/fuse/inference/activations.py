"""Activations that write over their input."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers import ELU, GELU, LeakyReLU, ReLU, ReLU6, Sigmoid, Tanh
from pellucid.layers.base import Layer

aten = torch.ops.aten

OVER: dict[type[Layer], Callable[..., Tensor]] = {
    ReLU: lambda layer, x: x.relu_(),
    ReLU6: lambda layer, x: aten.hardtanh_(x, 0, 6),
    LeakyReLU: lambda layer, x: F.leaky_relu_(x, layer.slope),
    ELU: lambda layer, x: F.elu_(x, layer.alpha),
    GELU: lambda layer, x: aten.gelu_(x, approximate=layer.approximate),
    Sigmoid: lambda layer, x: x.sigmoid_(),
    Tanh: lambda layer, x: x.tanh_(),
}


@dataclass(frozen=True)
class Over:
    """Run an activation over an input that nobody else reads."""

    layer: Layer

    def __call__(self, x: Tensor) -> Tensor:
        """Return x, which now holds y."""
        return OVER[type(self.layer)](self.layer, x)
