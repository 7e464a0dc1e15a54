"""Activations that write over their input."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.fuse.activations import KERNELS
from pellucid.layers import ELU, GELU, LeakyReLU
from pellucid.layers.base import Layer

aten = torch.ops.aten

Kernel = Callable[[Any, Tensor], Tensor]


def _bare(kernel: Callable[[Tensor], Tensor]) -> Kernel:
    return lambda layer, x: kernel(x)


OVER: dict[type[Layer], Kernel] = {
    **{kind: _bare(kernels.over) for kind, kernels in KERNELS.items()},
    LeakyReLU: lambda layer, x: F.leaky_relu_(x, layer.slope),
    ELU: lambda layer, x: F.elu_(x, layer.alpha),
    GELU: lambda layer, x: aten.gelu_(x, approximate=layer.approximate),
}


@dataclass(frozen=True)
class Over:
    """Run an activation over an input that no other layer reads."""

    layer: Layer

    def __call__(self, x: Tensor) -> Tensor:
        """Return x, which now holds y."""
        return OVER[type(self.layer)](self.layer, x)
