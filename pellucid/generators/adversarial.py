"""Base class of generators that are trained against a discriminator."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import init_child
from pellucid.generators.base import Generator, drawn, to_input
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.adversarial import Adversarial
from pellucid.objective import Gradients
from pellucid.sweep import backward


@dataclass(frozen=True)
class AdversarialGenerator(Generator):
    """A generator and a discriminator that are trained in turns.

    generator: outputs images with values in -1 to 1. discriminator: maps such images to logits (N, 1).
    """

    discriminator: Layer

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw the parameters of both networks."""
        generator = drawn("generator", self.generator, (self.latent,), shape, rng)
        discriminator, _ = init_child("discriminator", self.discriminator, shape, rng)
        return {"generator": generator, "discriminator": discriminator}, shape

    def generator_turn(
        self, params: Params, judging: Params, made: Tensor, making: Cache, loss: Adversarial, mode: Mode
    ) -> Gradients:
        """Return the generator's loss and gradients.

        judging: the discriminator's parameters, perhaps normalized. made, making: the generated images and the
        generator's cache.
        """
        scores, cache = self.discriminator.forward(judging, made, mode)
        value, dscores = loss.generator(scores)
        dmade = to_input(self.discriminator, judging, cache, self.weight("generator") * dscores)
        _, dparams = backward(self.generator, params["generator"], making, dmade, consume=True)
        return {"generator": value}, {"generator": dparams}
