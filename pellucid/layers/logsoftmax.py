"""The logarithm of the softmax."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.settings.checks import check_whole
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait
from pellucid.layers.checks import check_axis


class LogSoftmaxCache(NamedTuple):
    """Cache of LogSoftmax: its output."""

    y: Tensor


@dataclass(frozen=True)
class LogSoftmax(Layer):
    """Convert logits to log-probabilities along an axis: y_i = x_i - log Σ_j exp(x_j).

    `axis`: 0 is the batch axis, 1 the axis of the classes of (N, C) or of the channels of (N, C, H, W).
    Source: Bridle 1990.
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

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, LogSoftmaxCache]:
        """Compute y_i = x_i - log Σ_j exp(x_j)."""
        y = torch.log_softmax(x, self.axis)
        return y, LogSoftmaxCache(y)

    def backward(self, params: Params, cache: LogSoftmaxCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx_i = dy_i - exp(y_i) Σ_j dy_j."""
        return dy - torch.exp(cache.y) * dy.sum(self.axis, keepdim=True), {}

    def onnx(self, nodes: Any) -> None:
        """Write the ONNX node LogSoftmax."""
        nodes.last("LogSoftmax", nodes.x, axis=self.axis)

    def torch_code(self, shape: Shape) -> str:
        """Return the expression of the PyTorch module."""
        return f"nn.LogSoftmax({self.axis})"
