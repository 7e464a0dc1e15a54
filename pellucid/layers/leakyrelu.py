"""The leaky rectified linear unit.

Fused forms: FusedLeakyReLU (fuse/activations.py) in training; InPlaceActivation (fuse/inference/runs.py) in prediction.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.settings.checks import check_within
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class LeakyReLUCache(NamedTuple):
    """Cache of LeakyReLU: its output, which is positive exactly where the input was."""

    y: Tensor


@dataclass(frozen=True)
class LeakyReLU(Layer):
    """Keep positive values, multiply the others by `slope`: y = x where x > 0, else slope x, for any shape.

    At x = 0 the gradient is `slope`, which is at least 0. Source: Maas, Hannun and Ng 2013, equation 2.
    """

    traits: ClassVar[Trait] = Trait.ELEMENTWISE | Trait.ACTIVATION | Trait.RECTIFIER

    slope: float = 0.01

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_within(self, 0.0, float("inf"), slope=self.slope)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, LeakyReLUCache]:
        """Compute y = x where x > 0, else slope x."""
        y = F.leaky_relu(x, self.slope)
        return y, LeakyReLUCache(y)

    def backward(self, params: Params, cache: LeakyReLUCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy where y > 0, else slope dy."""
        return torch.where(cache.y > 0, dy, self.slope * dy), {}

    def onnx(self, nodes: Any) -> None:
        """Write the ONNX node LeakyRelu."""
        nodes.last("LeakyRelu", nodes.x, alpha=float(self.slope))

    def torch_code(self, shape: Shape) -> str:
        """Return the expression of the PyTorch module."""
        return f"nn.LeakyReLU({self.slope!r})"
