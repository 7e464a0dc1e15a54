"""The piecewise quadratic approximation of swish.

Fused forms: KernelForm (fuse/kernel_form.py) in training; InPlaceActivation (fuse/inference/runs.py) in
prediction.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class HardSwishCache(NamedTuple):
    """Cache of HardSwish: its input."""

    x: Tensor


@dataclass(frozen=True)
class HardSwish(Layer):
    """Multiply x by its hard sigmoid: y = x min(max(x / 6 + 1/2, 0), 1), for any shape.

    At x = -3 the gradient is 0, at x = 3 it is 1. Source: Howard et al. 2019, section 5.2.
    """

    traits: ClassVar[Trait] = Trait.ELEMENTWISE | Trait.ACTIVATION | Trait.SMOOTH_RECTIFIER

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, HardSwishCache]:
        """Compute y = x min(max(x / 6 + 1/2, 0), 1)."""
        return F.hardswish(x), HardSwishCache(x)

    def backward(self, params: Params, cache: HardSwishCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = 0 for x <= -3, dy for x >= 3, and dy (x / 3 + 1/2) between them."""
        slope = torch.where(cache.x >= 3, 1.0, cache.x / 3 + 0.5)
        return dy * slope * (cache.x > -3), {}

    def onnx(self, nodes: Any) -> None:
        """Write the ONNX node HardSwish."""
        nodes.last("HardSwish", nodes.x)

    def torch_code(self, shape: Shape) -> str:
        """Return the expression of the PyTorch module."""
        return "nn.Hardswish()"
