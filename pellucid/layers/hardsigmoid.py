"""The piecewise linear approximation of the sigmoid.

Fused form: KernelForm (fuse/kernel_form.py) in training.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers.base import Layer, Mode, Params, Shape, Trait

SLOPE = torch.tensor(1 / 6).item()  # rounded to float32, as in PyTorch's kernel for the forward pass


class HardSigmoidCache(NamedTuple):
    """Cache of HardSigmoid: its input."""

    x: Tensor


@dataclass(frozen=True)
class HardSigmoid(Layer):
    """Map to [0, 1] piecewise linearly: y = min(max(x / 6 + 1/2, 0), 1), for any shape.

    At x = -3 and x = 3 the gradient is 0. Source: Howard et al. 2019, section 5.2.
    """

    traits: ClassVar[Trait] = Trait.ELEMENTWISE | Trait.ACTIVATION

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, HardSigmoidCache]:
        """Compute y = min(max(x / 6 + 1/2, 0), 1)."""
        return F.hardsigmoid(x), HardSigmoidCache(x)

    def backward(self, params: Params, cache: HardSigmoidCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy / 6 where -3 < x < 3, else 0."""
        return dy * ((cache.x > -3) & (cache.x < 3)) * SLOPE, {}

    def onnx(self, nodes: Any) -> None:
        """Write the ONNX node HardSigmoid."""
        nodes.last("HardSigmoid", nodes.x, alpha=1 / 6, beta=0.5)

    def torch_code(self, shape: Shape) -> str:
        """Return the expression of the PyTorch module."""
        return "nn.Hardsigmoid()"
