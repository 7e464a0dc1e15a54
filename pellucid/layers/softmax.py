"""The softmax function."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.settings.checks import check_whole
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait
from pellucid.layers.checks import check_axis


class SoftmaxCache(NamedTuple):
    """Cache of Softmax: its output."""

    y: Tensor


@dataclass(frozen=True)
class Softmax(Layer):
    """Convert logits to probabilities along an axis: y_i = exp(x_i) / Σ_j exp(x_j).

    `axis`: 0 is the batch axis, 1 the axis of the classes of (N, C) or of the channels of (N, C, H, W).
    Source: Bridle 1990; Nielsen 2015, equation 78.
    """

    traits: ClassVar[Trait] = Trait.ACTIVATION

    axis: int = 1

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_whole(self, axis=self.axis)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        check_axis(self, self.axis, shape)
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, SoftmaxCache]:
        """Compute y_i = exp(x_i) / Σ_j exp(x_j)."""
        y = torch.softmax(x, self.axis)
        return y, SoftmaxCache(y)

    def backward(self, params: Params, cache: SoftmaxCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx_i = y_i (dy_i - Σ_j y_j dy_j)."""
        y = cache.y
        return y * (dy - (y * dy).sum(self.axis, keepdim=True)), {}

    def onnx(self, nodes: Any) -> None:
        """Write the ONNX node Softmax."""
        nodes.last("Softmax", nodes.x, axis=self.axis)

    def torch_code(self, shape: Shape) -> str:
        """Return the expression of the PyTorch module."""
        return f"nn.Softmax({self.axis})"
