"""What the fused forms share: how their layers learn, what they replace, and an empty cache."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from pellucid.layers.base import Layer, Params


@dataclass
class Rate:
    """The learning rate of the step that runs, and by how much a step shrinks the weights."""

    lr: float = 0.0
    shrink: float = 0.0

    def set(self, lr: float, shrink: float) -> None:
        """Take the values of the next step."""
        self.lr, self.shrink = lr, shrink


@dataclass(frozen=True)
class FusionContext:
    """Whether layers learn, and their learning rate in the sweep; without a rate they return gradients."""

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
