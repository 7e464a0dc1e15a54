"""What layers draw in a training step, the same ones whenever the step is taken."""

import torch

from pellucid.config import is_ours
from pellucid.data.seeds import mix
from pellucid.layers import Dropout
from pellucid.layers.base import Layer

DROPOUT = 0xD0  # the stream of seeds that dropout draws from


def draws(rng: torch.Generator, seed: int, step: int) -> torch.Generator:
    """Set `rng` to where the step after `step` others begins to draw, and return it."""
    return rng.manual_seed(mix(seed, DROPOUT, step))


def may_draw(layer: Layer) -> bool:
    """Return whether a layer draws in training mode, as one that is not Pellucid's own may."""
    return isinstance(layer, Dropout) or not is_ours(layer)
