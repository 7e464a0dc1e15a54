"""Classes shared by the fused forms: the learning rate, the base class of fused layers, and the empty cache."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from pellucid.layers.base import Layer, Params


@dataclass
class Rate:
    """The learning rate of the current step, and `shrink`, the fraction by which weight decay shrinks weights."""

    lr: float = 0.0
    shrink: float = 0.0

    def set(self, lr: float, shrink: float) -> None:
        """Set the values for the next step."""
        self.lr, self.shrink = lr, shrink


@dataclass(frozen=True)
class FusionContext:
    """How fused layers learn.

    rate: the rate with which `backward` updates the parameters itself; if None, it returns their gradients. learns:
    False for frozen layers, which do neither.
    """

    rate: Rate | None = None
    learns: bool = True


GRADIENTS = FusionContext()  # `backward` returns the gradients of the parameters
FROZEN = FusionContext(learns=False)  # `backward` returns only dx


class NoCache(NamedTuple):
    """Empty cache."""


@dataclass(frozen=True)
class FusedForm(Layer):
    """A layer that computes the same output as `layer`, from the same params."""

    layer: Layer

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize the layer, by default as it stands."""
        return self.layer.init(shape, rng)
