"""The exponential linear unit.

Fused form: InPlaceActivation (fuse/inference/runs.py) in prediction.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.settings.checks import check_within
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class ELUCache(NamedTuple):
    """Cache of ELU: its output, which is positive exactly where the input was."""

    y: Tensor


@dataclass(frozen=True)
class ELU(Layer):
    """Keep positive values, map the others to (-alpha, 0]: y = x where x > 0, else alpha (exp(x) - 1), for any shape.

    At x = 0 the gradient is `alpha`, which is at least 0. Source: Clevert, Unterthiner and Hochreiter 2016,
    equation 15.
    """

    traits: ClassVar[Trait] = Trait.ELEMENTWISE | Trait.ACTIVATION | Trait.SMOOTH_RECTIFIER

    alpha: float = 1.0

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_within(self, 0.0, float("inf"), alpha=self.alpha)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, ELUCache]:
        """Compute y = x where x > 0, else alpha (exp(x) - 1)."""
        y = F.elu(x, self.alpha)
        return y, ELUCache(y)

    def backward(self, params: Params, cache: ELUCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy where y > 0, else dy (y + alpha), since alpha exp(x) = y + alpha."""
        return torch.where(cache.y > 0, dy, dy * (cache.y + self.alpha)), {}

    def onnx(self, nodes: Any) -> None:
        """Write the ONNX node Elu."""
        nodes.last("Elu", nodes.x, alpha=float(self.alpha))

    def torch_code(self, shape: Shape) -> str:
        """Return the expression of the PyTorch module."""
        return f"nn.ELU({self.alpha!r})"
