"""The rectified linear unit bounded at 6.

Fused forms: FusedActivation (fuse/activations.py), KernelForm (fuse/kernel_form.py), NormActConv
(fuse/recompute.py) and DenseBlock (fuse/dense_block.py) in training; Convolution, Affine and InPlaceActivation
(fuse/inference/runs.py) in prediction.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class ReLU6Cache(NamedTuple):
    """Cache of ReLU6: its output, which is between 0 and 6 exactly where the input was."""

    y: Tensor


@dataclass(frozen=True)
class ReLU6(Layer):
    """Clip to the range from 0 to 6: y = min(max(x, 0), 6), for any shape.

    At x = 0 and at x = 6 the gradient is 0. Source: Krizhevsky 2010, Convolutional deep belief networks on CIFAR-10.
    """

    traits: ClassVar[Trait] = Trait.ELEMENTWISE | Trait.ACTIVATION | Trait.RECTIFIER

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, ReLU6Cache]:
        """Compute y = min(max(x, 0), 6)."""
        y = F.relu6(x)
        return y, ReLU6Cache(y)

    def backward(self, params: Params, cache: ReLU6Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy where 0 < y < 6, else 0."""
        return dy * ((cache.y > 0) & (cache.y < 6)), {}

    def onnx(self, nodes: Any) -> None:
        """Write the ONNX node Clip."""
        nodes.last("Clip", nodes.x, nodes.number("min", 0.0), nodes.number("max", 6.0))

    def torch_code(self, shape: Shape) -> str:
        """Return the expression of the PyTorch module."""
        return "nn.ReLU6()"
