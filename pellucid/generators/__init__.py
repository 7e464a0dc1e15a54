"""Generators: objectives that learn to generate images from noise or from other images."""

from collections.abc import Callable

from pellucid.generators.base import Generator
from pellucid.generators.gan import GAN, dcgan
from pellucid.generators.gmmn import GMMN, CodeGMMN, gmmn, gmmn_ae
from pellucid.generators.pix2pix import Pix2Pix, pix2pix
from pellucid.generators.r1 import R1GAN, r1_gan
from pellucid.generators.regression import Regression, l1, mse
from pellucid.generators.translation import Translator
from pellucid.generators.vae import VAE, vae
from pellucid.generators.wgan_gp import WGANGP, wgan_gp
from pellucid.generators.zhang import Zhang, zhang
from pellucid.objective import Objective

GENERATORS: dict[str, Callable[..., Generator]] = {
    make.__name__: make for make in (dcgan, wgan_gp, r1_gan, gmmn, gmmn_ae, vae)
}
TRANSLATORS: dict[str, Callable[..., Translator]] = {make.__name__: make for make in (l1, mse, zhang, pix2pix)}
# The classes of generators that a weights file may name.
GENERATOR_CLASSES: tuple[type[Objective], ...] = (GAN, WGANGP, R1GAN, GMMN, CodeGMMN, VAE, Regression, Zhang, Pix2Pix)

__all__ = [
    "GAN",
    "GENERATORS",
    "GENERATOR_CLASSES",
    "GMMN",
    "R1GAN",
    "TRANSLATORS",
    "VAE",
    "WGANGP",
    "CodeGMMN",
    "Generator",
    "Pix2Pix",
    "Regression",
    "Translator",
    "Zhang",
    "dcgan",
    "gmmn",
    "gmmn_ae",
    "l1",
    "mse",
    "pix2pix",
    "r1_gan",
    "vae",
    "wgan_gp",
    "zhang",
]
