"""The Wasserstein GAN with a gradient penalty."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import add_up_tree, init_child
from pellucid.data.source import Batch
from pellucid.generators.base import Generator, drawn, to_input
from pellucid.generators.penalty import gradient_penalty, one_centred
from pellucid.layers.base import Layer, Mode, Params
from pellucid.models.dcgan import dcgan_discriminator, dcgan_generator
from pellucid.objective import Gradients
from pellucid.sweep import backward
from pellucid.tree import map_tree


@dataclass(frozen=True)
class WGANGP(Generator):
    """A generator against a critic, whose mean difference of scores estimates the Wasserstein distance.

    generator: its images have values in -1 to 1. critic: from such images to a score each, (N, 1), piecewise linear and
    without batch normalization, see `gradient_penalty`. penalty: the factor of the gradient penalty, at points between
    real and generated images. critic_steps: the critic's turns before each of the generator; every batch is divided
    among them, and the generator's turn draws as many images as one of the critic's.
    Losses: "critic" (the mean score of generated images less that of real ones), "penalty", "generator".
    Source: Gulrajani et al. 2017, algorithm 1.
    """

    critic: Layer
    _: KW_ONLY
    penalty: float = 10.0
    critic_steps: int = 5

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw both networks' parameters."""
        generator = drawn("generator", self.generator, (self.latent,), shape, rng)
        critic, _ = init_child("critic", self.critic, shape, rng)
        return {"generator": generator, "critic": critic}, shape

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        """Yield the critic's turns, the last of which names their mean losses, and the generator's."""
        parts = (2 * batch.images - 1).tensor_split(min(self.critic_steps, len(batch.images)))
        distances: list[Tensor] = []
        penalties: list[Tensor] = []
        for turn, images in enumerate(parts, start=1):
            z = self.latents(len(images), mode.rng, images)
            made, _ = self.generator.forward(params["generator"], z, Mode(mode.train, mode.rng, keep=False))
            distance, first = self._distance(params, images, made, mode)
            share = torch.rand(len(images), 1, 1, 1, generator=mode.rng, device=images.device, dtype=images.dtype)
            between = share * images + (1 - share) * made
            value, second, _ = gradient_penalty(self.critic, params["critic"], between, one_centred(self.penalty), mode)
            second = map_tree(lambda one: self.weight("penalty") * one, second)
            distances.append(distance)
            penalties.append(value)
            last = turn == len(parts)
            losses = {"critic": torch.stack(distances).mean(), "penalty": torch.stack(penalties).mean()} if last else {}
            yield losses, {"critic": add_up_tree(first, second)}

        z = self.latents(len(parts[0]), mode.rng, batch.images)
        made, making = self.generator.forward(params["generator"], z, mode)
        scores, cache = self.critic.forward(params["critic"], made, mode)
        dscores = torch.full_like(scores, -self.weight("generator") / len(scores))
        dmade = to_input(self.critic, params["critic"], cache, dscores)
        _, dparams = backward(self.generator, params["generator"], making, dmade, consume=True)
        yield {"generator": -scores.mean()}, {"generator": dparams}

    def _distance(self, params: Params, images: Tensor, made: Tensor, mode: Mode) -> tuple[Tensor, Params]:
        """Return the mean score of generated images less that of real ones, and the critic's gradients."""
        count = len(images)
        scores, cache = self.critic.forward(params["critic"], torch.cat([images, made]), mode)  # (2 count, 1)
        dscores = torch.full_like(scores, self.weight("critic") / count)
        dscores[:count] *= -1
        _, dparams = backward(self.critic, params["critic"], cache, dscores, consume=True)
        return scores[count:].mean() - scores[:count].mean(), dparams


def wgan_gp(
    size: int = 28, channels: int = 1, width: int = 32, latent: int = 100, penalty: float = 10.0, critic_steps: int = 5
) -> WGANGP:
    """Return a WGAN-GP of DCGAN's networks for images of `size` x `size`, the critic without normalization."""
    critic = dcgan_discriminator(size, width, norm=False)
    generator = dcgan_generator(size, channels, width)
    return WGANGP(generator, latent, critic, penalty=penalty, critic_steps=critic_steps)
