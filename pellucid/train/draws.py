"""What layers draw in a training step, the same ones whenever the step is taken."""

import torch

from pellucid.data.seeds import mix

DROPOUT = 0xD0  # the stream of seeds that dropout draws from


def draws(rng: torch.Generator, seed: int, step: int) -> torch.Generator:
    """Set `rng` to where the step after `step` others begins to draw, and return it."""
    return rng.manual_seed(mix(seed, DROPOUT, step))
