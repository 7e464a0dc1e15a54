"""The rectified linear unit.

Fused forms: FusedActivation (fuse/activations.py), KernelForm (fuse/kernel_form.py), NormActConv
(fuse/recompute.py) and DenseBlock (fuse/dense_block.py) in training; Convolution, Affine and InPlaceActivation
(fuse/inference/runs.py) in prediction.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class ReLUCache(NamedTuple):
    """Cache of ReLU: its output, which is positive exactly where the input was."""

    y: Tensor


@dataclass(frozen=True)
class ReLU(Layer):
    """Keep positive values: y = max(x, 0), for any shape.

    At x = 0 the gradient is 0. Source: Nair and Hinton 2010.
    """

    traits: ClassVar[Trait] = Trait.ELEMENTWISE | Trait.ACTIVATION | Trait.RECTIFIER

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, ReLUCache]:
        """Compute y = max(x, 0)."""
        y = torch.relu(x)
        return y, ReLUCache(y)

    def backward(self, params: Params, cache: ReLUCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy where y > 0, else 0."""
        return dy * (cache.y > 0), {}

    def onnx(self, nodes: Any) -> None:
        """Write the ONNX node Relu."""
        nodes.last("Relu", nodes.x)

    def torch_code(self, shape: Shape) -> str:
        """Return the expression of the PyTorch module."""
        return "nn.ReLU()"
