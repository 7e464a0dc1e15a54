"""Classes shared by the fused forms: the learning rate, the base class of fused layers, and the empty cache."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from pellucid.layers.base import Layer, Params


@dataclass
class Rate:
    """The learning rate and the weight decay of the current step."""

    lr: float = 0.0
    shrink: float = 0.0

    def set(self, lr: float, shrink: float) -> None:
        """Set the values for the next step."""
        self.lr, self.shrink = lr, shrink


@dataclass(frozen=True)
class FusionContext:
    """Whether layers learn, and the rate with which `backward` updates them; with None it returns gradients instead."""

    rate: Rate | None = None
    learns: bool = True


GRADIENTS = FusionContext()
FROZEN = FusionContext(learns=False)


class NoCache(NamedTuple):
    """Empty cache."""


@dataclass(frozen=True)
class Form(Layer):
    """A layer that computes the same as `layer`, from the same params."""

    layer: Layer

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise the layer."""
        return self.layer.init(shape, rng)
