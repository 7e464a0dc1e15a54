"""The identity function."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class IdentityCache(NamedTuple):
    """Empty cache of Identity."""


@dataclass(frozen=True)
class Identity(Layer):
    """Return the input unchanged: y = x, for any shape.

    It is the skip branch of a residual block (He et al. 2016, equation 1).
    """

    traits: ClassVar[Trait] = Trait.ELEMENTWISE | Trait.LINEAR | Trait.RESHAPE

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, IdentityCache]:
        """Return x, not a copy."""
        return x, IdentityCache()

    def backward(self, params: Params, cache: IdentityCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dy, not a copy."""
        return dy, {}

    def onnx(self, nodes: Any) -> None:
        """Write the ONNX node Identity."""
        nodes.last("Identity", nodes.x)

    def torch_code(self, shape: Shape) -> str:
        """Return the expression of the PyTorch module."""
        return "nn.Identity()"
