"""Generative adversarial networks."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from pellucid.base.settings.checks import check_choice, check_flag
from pellucid.combine.base import add_up_tree, init_child
from pellucid.data.source import Batch
from pellucid.fuse import fuse
from pellucid.generators.base import Generator, initial_parameters, input_gradient, parameter_gradients
from pellucid.generators.spectral import SingularTriplet, normalized_weights, unnormalized_gradients
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.adversarial import ADVERSARIAL, Adversarial, GANLoss
from pellucid.models.dcgan import dcgan_discriminator, dcgan_generator
from pellucid.objective import Gradients
from pellucid.sweep import backward


@dataclass(frozen=True)
class AdversarialGenerator(Generator):
    """A generator and a discriminator that are trained in turns.

    generator: outputs images with values in -1 to 1.
    discriminator: maps such images to logits (N, 1).
    """

    discriminator: Layer

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw the parameters of both networks."""
        generator = initial_parameters("generator", self.generator, (self.latent,), shape, rng)
        discriminator, _ = init_child("discriminator", self.discriminator, shape, rng)
        return {"generator": generator, "discriminator": discriminator}, shape

    def generate(self, params: Params, z: Tensor) -> Tensor:
        """Return the generator's outputs, mapped from [-1, 1] to [0, 1]."""
        return (self.generator.forward(params["generator"], z, Mode(keep=False))[0] + 1) / 2

    def discriminator_turn(
        self, discriminator_params: Params, images: Tensor, generated: Tensor, loss: Adversarial, mode: Mode
    ) -> Gradients:
        """Return the discriminator's loss, and its gradient with respect to `discriminator_params`.

        The discriminator runs on the real `images` and on the `generated` images in separate batches, one after the
        other, so that the caches of both are never in memory at once.
        """
        terms: list[tuple[Tensor, Params]] = []
        for x, is_real in ((images, True), (generated, False)):
            scores, cache = self.discriminator.forward(discriminator_params, x, mode)
            value, dscores = loss.discriminator_term(scores, is_real)
            dscores = self.weight("discriminator") * dscores
            terms.append((value, parameter_gradients(self.discriminator, discriminator_params, cache, dscores)))
        (real_value, real_dparams), (fake_value, fake_dparams) = terms
        return {"discriminator": real_value + fake_value}, add_up_tree(real_dparams, fake_dparams)

    def generator_turn(
        self,
        params: Params,
        discriminator_params: Params,
        generated: Tensor,
        generator_cache: Cache,
        loss: Adversarial,
        mode: Mode,
    ) -> Gradients:
        """Return the generator's loss and gradients.

        discriminator_params: the discriminator's parameters, normalized if it has spectral normalization. generated,
        generator_cache: the generated images, and the cache of the generator's forward pass.
        """
        scores, cache = self.discriminator.forward(discriminator_params, generated, mode)
        value, dscores = loss.generator(scores)
        dgenerated = input_gradient(self.discriminator, discriminator_params, cache, self.weight("generator") * dscores)
        _, dparams = backward(self.generator, params["generator"], generator_cache, dgenerated, consume=True)
        return {"generator": value}, {"generator": dparams}


@dataclass(frozen=True)
class GAN(AdversarialGenerator):
    """A generator and a discriminator that are trained in turns, the discriminator first.

    The discriminator runs on real and on generated images in separate batches.
    loss: the name of the loss of both networks, see pellucid.losses.adversarial.
    spectral: whether the discriminator's weights are divided by their largest singular values, see
        `normalized_weights`.
    Names of its losses, the keys of `weights`: "discriminator", "generator".
    Source: Goodfellow et al. 2014, algorithm 1; Radford, Metz and Chintala 2016.
    """

    _: KW_ONLY
    loss: GANLoss = "non_saturating"
    spectral: bool = False

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown loss, and unless `spectral` is a boolean."""
        super().__post_init__()
        check_choice(self, get_args(GANLoss), loss=self.loss)
        check_flag(self, spectral=self.spectral)

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        """Yield the discriminator's losses and gradients, then the generator's with the updated discriminator."""
        loss = ADVERSARIAL[self.loss]
        images = 2 * batch.images - 1
        z = self.latents(len(images), mode.rng, images)
        generated, generator_cache = self.generator.forward(params["generator"], z, mode)

        discriminator_params, triplets = self._discriminator_params(params)
        losses, dparams = self.discriminator_turn(discriminator_params, images, generated, loss, mode)
        yield losses, {"discriminator": unnormalized_gradients(dparams, discriminator_params, triplets)}

        discriminator_params, _ = self._discriminator_params(params)
        yield self.generator_turn(params, discriminator_params, generated, generator_cache, loss, mode)

    def _discriminator_params(self, params: Params) -> tuple[Params, dict[str, SingularTriplet]]:
        """Return the discriminator's parameters, normalized if `spectral`, and the singular triplets by path."""
        return normalized_weights(params["discriminator"]) if self.spectral else (params["discriminator"], {})

    def fused(self) -> "GAN":
        """Return the GAN with fused forms of its networks."""
        return self.with_nets(
            {"generator": fuse(self.generator), "discriminator": fuse(self.discriminator, need_dx=True)}
        )


def dcgan(
    size: int = 28,
    channels: int = 1,
    width: int = 32,
    latent: int = 100,
    loss: GANLoss = "non_saturating",
    spectral: bool = False,
) -> GAN:
    """Return DCGAN for images of `size` x `size`; see dcgan_generator and dcgan_discriminator.

    spectral: whether the discriminator has spectral normalization instead of batch normalization.
    """
    discriminator = dcgan_discriminator(size, width, norm=not spectral)
    return GAN(dcgan_generator(size, channels, width), latent, discriminator, loss=loss, spectral=spectral)
