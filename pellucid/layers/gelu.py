"""The Gaussian error linear unit.

Fused forms: KernelForm (fuse/kernel_form.py) in training; InPlaceActivation (fuse/inference/runs.py) in
prediction.
"""
# Some PyTorch functions have no type annotations.
# pyright: reportUnknownMemberType=false

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.settings.checks import check_choice
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class GELUCache(NamedTuple):
    """Cache of GELU: its input."""

    x: Tensor


@dataclass(frozen=True)
class GELU(Layer):
    """Multiply x by the probability that a standard normal variable is less than x: y = x Φ(x), for any shape.

    `approximate="tanh"` uses Φ(x) ≈ (1 + tanh(sqrt(2/π) (x + 0.044715 x³))) / 2.
    Source: Hendrycks and Gimpel 2016, section 2.
    """

    traits: ClassVar[Trait] = Trait.ELEMENTWISE | Trait.ACTIVATION | Trait.SMOOTH_RECTIFIER

    approximate: str = "none"

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_choice(self, ("none", "tanh"), approximate=self.approximate)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, GELUCache]:
        """Compute y = x Φ(x)."""
        return F.gelu(x, approximate=self.approximate), GELUCache(x)

    def backward(self, params: Params, cache: GELUCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy (Φ(x) + x φ(x)), where φ is the derivative of Φ, or of its approximation for "tanh"."""
        phi, density = self.distribution(cache.x)
        return dy * (phi + cache.x * density), {}

    def distribution(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return Φ(x) and its derivative φ(x)."""
        if self.approximate == "tanh":
            tanh_input = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
            dtanh_input = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
            tanh = torch.tanh(tanh_input)
            return (1 + tanh) / 2, (1 - tanh * tanh) / 2 * dtanh_input
        return cast(Tensor, torch.special.ndtr(x)), torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    def onnx(self, nodes: Any) -> None:
        """Write the ONNX node Gelu."""
        nodes.last("Gelu", nodes.x, approximate=self.approximate)

    def torch_code(self, shape: Shape) -> str:
        """Return the expression of the PyTorch module."""
        return "nn.GELU()" if self.approximate == "none" else f'nn.GELU(approximate="{self.approximate}")'
