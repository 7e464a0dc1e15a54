"""The hyperbolic tangent.

Fused forms: FusedActivation (fuse/activations.py) in training; InPlaceActivation (fuse/inference/runs.py) in
prediction.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class TanhCache(NamedTuple):
    """Cache of Tanh: its output."""

    y: Tensor


@dataclass(frozen=True)
class Tanh(Layer):
    """Map to (-1, 1): y = tanh(x), for any shape.

    Source: LeCun et al. 1998, Efficient BackProp, section 4.4.
    """

    traits: ClassVar[Trait] = Trait.ELEMENTWISE | Trait.ACTIVATION

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, TanhCache]:
        """Compute y = tanh(x)."""
        y = torch.tanh(x)
        return y, TanhCache(y)

    def backward(self, params: Params, cache: TanhCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy (1 - y²)."""
        return dy * (1 - cache.y * cache.y), {}

    def onnx(self, nodes: Any) -> None:
        """Write the ONNX node Tanh."""
        nodes.last("Tanh", nodes.x)

    def torch_code(self, shape: Shape) -> str:
        """Return the expression of the PyTorch module."""
        return "nn.Tanh()"
