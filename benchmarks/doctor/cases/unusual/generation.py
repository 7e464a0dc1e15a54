"""Mistakes in generators."""

from collections.abc import Mapping

from benchmarks.doctor.cases.unusual.parts import Undetached
from benchmarks.doctor.cases.unusual.sound import generator, small_gan, small_vae
from benchmarks.doctor.fit import Case, Pair
from pellucid.combine import Sequential
from pellucid.generators import GAN
from pellucid.layers import BatchNorm
from pellucid.models.dcgan import dcgan_discriminator, dcgan_generator
from pellucid.optim import Adam

MEASURE = "likeness"


def norm_before_tanh(seed: int) -> Pair:
    """Normalise what the last activation gets."""
    layers = dict(dcgan_generator(8, 1, 32).layers)
    last = layers.pop("tanh")
    net, slow = Sequential(**layers, norm=BatchNorm(), tanh=last), Adam(5e-4, beta1=0.5)
    wrong, _ = generator(seed, GAN(net, 16, dcgan_discriminator(8, 32)), slow)
    sound, _ = generator(seed, optimizer=slow)
    return Pair(wrong, sound, MEASURE)


def vae_mean_over_pixels(seed: int) -> Pair:
    """Average the reconstruction over the pixels, and sum the divergence."""
    wrong, _ = generator(seed, small_vae(weights={"reconstruction": 1 / 64}), Adam(2e-3))
    sound, _ = generator(seed, small_vae(), Adam(2e-3))
    return Pair(wrong, sound, MEASURE)


def discriminator_too_fast(seed: int) -> Pair:
    """Give the discriminator a much higher learning rate."""
    rates = {"generator": Adam(2e-3, beta1=0.5), "discriminator": Adam(0.1, beta1=0.5)}
    wrong, _ = generator(seed, small_gan(), rates)
    sound, _ = generator(seed)
    return Pair(wrong, sound, MEASURE)


def generator_helps_discriminator(seed: int) -> Pair:
    """Pass the discriminator's gradient on to the generator."""
    wrong, _ = generator(seed, Undetached(dcgan_generator(8, 1, 32), 16, dcgan_discriminator(8, 32)))
    sound, _ = generator(seed)
    return Pair(wrong, sound, MEASURE)


CASES: Mapping[str, Case] = {
    "gen-norm-before-tanh": norm_before_tanh,
    "gen-vae-mean-over-pixels": vae_mean_over_pixels,
    "gen-discriminator-too-fast": discriminator_too_fast,
    "gen-generator-helps-discriminator": generator_helps_discriminator,
}
