"""Classes shared by the fused forms: the learning rate, the base class of fused layers, and the empty cache."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from pellucid.layers.base import Layer, Params


@dataclass
class Rate:
    """The learning rate and the weight decay of the current step."""

    lr: float = 0.0
    shrink: float = 0.0  # the fraction by which weight decay shrinks weights

    def set(self, lr: float, shrink: float) -> None:
        """Set the values for the next step."""
        self.lr = lr
        self.shrink = shrink


@dataclass(frozen=True)
class FusionContext:
    """What `backward` of fused layers computes for the parameters."""

    # the learning rate with which `backward` updates the parameters; None to return their gradients instead
    rate: Rate | None = None
    learns: bool = True  # False for frozen layers, which neither update parameters nor return gradients


GRADIENTS = FusionContext()  # `backward` returns the gradients of the parameters
FROZEN = FusionContext(learns=False)  # `backward` returns only dx


class NoCache(NamedTuple):
    """Empty cache."""


@dataclass(frozen=True)
class FusedForm(Layer):
    """Base class of layers that compute the same output as `layer`, from the same params."""

    layer: Layer

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize the parameters of `layer`."""
        return self.layer.init(shape, rng)
