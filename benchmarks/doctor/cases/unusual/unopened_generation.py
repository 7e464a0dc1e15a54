"""Mistakes in generators of the unopened half."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.doctor.cases.unusual.sound import generator, small_gan, small_wgan
from benchmarks.doctor.fit import Case, Pair
from pellucid.combine import Sequential
from pellucid.generators import GAN
from pellucid.layers import Sigmoid
from pellucid.layers.base import Params
from pellucid.models.dcgan import dcgan_discriminator, dcgan_generator
from pellucid.nested import leaves
from pellucid.optim import Adam

MEASURE = "likeness"


@dataclass(frozen=True)
class SampledUniformly(GAN):
    """A GAN that is trained with normal noise, and that generates from noise of 0 to 1."""

    def sample(self, params: Params, count: int, rng: torch.Generator) -> Tensor:
        """Draw images."""
        like = leaves(params)[0]
        return self.generate(params, torch.rand(count, self.latent, generator=rng, dtype=like.dtype))


def critic_batch_norm(seed: int) -> Pair:
    """Put batch normalisation into the critic."""
    wrong, _ = generator(seed, small_wgan(norm=True), Adam(2e-3, beta1=0.0, beta2=0.9), 30)
    sound, _ = generator(seed, small_wgan(), Adam(2e-3, beta1=0.0, beta2=0.9), 30)
    return Pair(wrong, sound, MEASURE)


def other_noise(seed: int) -> Pair:
    """Generate from other noise than that of training."""
    wrong, _ = generator(seed, SampledUniformly(dcgan_generator(8, 1, 32), 16, dcgan_discriminator(8, 32)))
    sound, _ = generator(seed, small_gan())
    return Pair(wrong, sound, MEASURE)


def other_range(seed: int) -> Pair:
    """Generate values of 0 to 1 where the discriminator sees real ones of -1 to 1."""
    layers = dict(dcgan_generator(8, 1, 32).layers) | {"tanh": Sigmoid()}
    wrong, _ = generator(seed, GAN(Sequential(**layers), 16, dcgan_discriminator(8, 32)))
    sound, _ = generator(seed)
    return Pair(wrong, sound, MEASURE)


CASES: Mapping[str, Case] = {
    "gen-critic-batch-norm": critic_batch_norm,
    "gen-other-noise": other_noise,
    "gen-other-range": other_range,
}
