"""The Wasserstein GAN with a gradient penalty."""

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.settings.checks import check_whole, check_within
from pellucid.combine.base import add_up_tree, init_child
from pellucid.data.source import Batch
from pellucid.generators.base import Generator, initial_parameters, input_gradient
from pellucid.generators.penalty import gradient_penalty, one_centred_penalty
from pellucid.layers.base import Layer, Mode, Params
from pellucid.models.dcgan import dcgan_discriminator, dcgan_generator
from pellucid.nested import map_tree
from pellucid.objective import Gradients
from pellucid.sweep import backward


@dataclass(frozen=True)
class WGANGP(Generator):
    """A generator and a critic, whose difference of mean scores estimates the Wasserstein distance.

    generator: outputs images with values in -1 to 1.
    critic: maps such images to scores (N, 1); it must be piecewise linear and without batch normalization, see
        `gradient_penalty`.
    penalty: the factor of the gradient penalty, at random points between real and generated images.
    critic_steps: updates of the critic before each update of the generator; each batch is divided among these, and the
        generator's update uses as many samples as the first of them. If a batch has fewer images than critic_steps,
        each update uses one image, in rotation, so the number of updates is the same for all shards of a batch.
    Losses: "critic" (the mean score of generated images minus the mean score of real ones), "penalty", "generator".
    Source: Gulrajani et al. 2017, algorithm 1.
    """

    critic: Layer
    _: KW_ONLY
    penalty: float = 10.0
    critic_steps: int = 5

    def __post_init__(self) -> None:
        """Raise PellucidError for a negative penalty, and for `critic_steps` below 1."""
        super().__post_init__()
        check_within(self, 0, math.inf, penalty=self.penalty)
        check_whole(self, critic_steps=self.critic_steps)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw the parameters of both networks."""
        generator = initial_parameters("generator", self.generator, (self.latent,), shape, rng)
        critic, _ = init_child("critic", self.critic, shape, rng)
        return {"generator": generator, "critic": critic}, shape

    def generate(self, params: Params, z: Tensor) -> Tensor:
        """Return the generator's outputs, mapped from [-1, 1] to [0, 1]."""
        return (self.generator.forward(params["generator"], z, Mode(keep=False))[0] + 1) / 2

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        """Yield the critic's losses and gradients for each of its updates, then the generator's."""
        n_images = len(batch.images)
        scaled = 2 * batch.images - 1
        single_images = [
            scaled[k % n_images].unsqueeze(0) for k in range(self.critic_steps if n_images < self.critic_steps else 0)
        ]
        critic_batches = single_images or scaled.tensor_split(self.critic_steps)
        for images in critic_batches:
            z = self.latents(len(images), mode.rng, images)
            generated, _ = self.generator.forward(params["generator"], z, Mode(mode.train, mode.rng, keep=False))
            distance, dcritic = self._critic_gradients(params, images, generated, mode)
            fraction = torch.rand(len(images), 1, 1, 1, generator=mode.rng, device=images.device, dtype=images.dtype)
            interpolated = fraction * images + (1 - fraction) * generated
            penalty_function = one_centred_penalty(self.penalty)
            value, dpenalty, _ = gradient_penalty(self.critic, params["critic"], interpolated, penalty_function, mode)
            dpenalty = map_tree(lambda gradient: self.weight("penalty") * gradient, dpenalty)
            yield {"critic": distance, "penalty": value}, {"critic": add_up_tree(dcritic, dpenalty)}

        z = self.latents(len(critic_batches[0]), mode.rng, batch.images)
        generated, generator_cache = self.generator.forward(params["generator"], z, mode)
        scores, cache = self.critic.forward(params["critic"], generated, mode)
        dscores = torch.full_like(scores, -self.weight("generator") / len(scores))
        dgenerated = input_gradient(self.critic, params["critic"], cache, dscores)
        _, dparams = backward(self.generator, params["generator"], generator_cache, dgenerated, consume=True)
        yield {"generator": -scores.mean()}, {"generator": dparams}

    def _critic_gradients(self, params: Params, images: Tensor, generated: Tensor, mode: Mode) -> tuple[Tensor, Params]:
        """Return the mean score of generated images minus that of real images, and the critic's gradients."""
        n_images = len(images)
        scores, cache = self.critic.forward(params["critic"], torch.cat([images, generated]), mode)  # (2 n_images, 1)
        dscores = torch.full_like(scores, self.weight("critic") / n_images)
        dscores[:n_images] *= -1
        _, dparams = backward(self.critic, params["critic"], cache, dscores, consume=True)
        return scores[n_images:].mean() - scores[:n_images].mean(), dparams


def wgan_gp(
    size: int = 28, channels: int = 1, width: int = 32, latent: int = 100, penalty: float = 10.0, critic_steps: int = 5
) -> WGANGP:
    """Return a WGAN-GP with DCGAN's networks for images of `size` x `size`, without normalization in the critic."""
    critic = dcgan_discriminator(size, width, norm=False)
    generator = dcgan_generator(size, channels, width)
    return WGANGP(generator, latent, critic, penalty=penalty, critic_steps=critic_steps)
