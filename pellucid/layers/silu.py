"""The sigmoid linear unit, also called swish.

Fused forms: KernelForm (fuse/kernel_form.py) in training; InPlaceActivation (fuse/inference/runs.py) in
prediction.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class SiLUCache(NamedTuple):
    """Cache of SiLU: its input."""

    x: Tensor


@dataclass(frozen=True)
class SiLU(Layer):
    """Multiply x by its logistic sigmoid: y = x σ(x), for any shape.

    Source: Elfwing, Uchibe and Doya 2018, equation 5; Ramachandran, Zoph and Le 2017.
    """

    traits: ClassVar[Trait] = Trait.ELEMENTWISE | Trait.ACTIVATION | Trait.SMOOTH_RECTIFIER

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, SiLUCache]:
        """Compute y = x σ(x)."""
        return F.silu(x), SiLUCache(x)

    def backward(self, params: Params, cache: SiLUCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy σ(x) (1 + x (1 - σ(x)))."""
        s = torch.sigmoid(cache.x)
        return dy * (s * (1 + cache.x * (1 - s))), {}

    def onnx(self, nodes: Any) -> None:
        """Write the ONNX nodes Sigmoid and Mul."""
        nodes.last("Mul", nodes.x, nodes.inner("Sigmoid", nodes.x))

    def torch_code(self, shape: Shape) -> str:
        """Return the expression of the PyTorch module."""
        return "nn.SiLU()"
