"""The logistic sigmoid.

Fused forms: FusedActivation (fuse/activations.py) in training; InPlaceActivation (fuse/inference/runs.py) in
prediction.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class SigmoidCache(NamedTuple):
    """Cache of Sigmoid: its output."""

    y: Tensor


@dataclass(frozen=True)
class Sigmoid(Layer):
    """Map to (0, 1): y = 1 / (1 + exp(-x)), for any shape.

    Source: Nielsen 2015, equation 3.
    """

    traits: ClassVar[Trait] = Trait.ELEMENTWISE | Trait.ACTIVATION

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, SigmoidCache]:
        """Compute y = 1 / (1 + exp(-x))."""
        y = torch.sigmoid(x)
        return y, SigmoidCache(y)

    def backward(self, params: Params, cache: SigmoidCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy y (1 - y)."""
        return dy * cache.y * (1 - cache.y), {}

    def onnx(self, nodes: Any) -> None:
        """Write the ONNX node Sigmoid."""
        nodes.last("Sigmoid", nodes.x)

    def torch_code(self, shape: Shape) -> str:
        """Return the expression of the PyTorch module."""
        return "nn.Sigmoid()"
