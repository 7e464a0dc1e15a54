"""Generative adversarial networks."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

from pellucid.combine.base import add_up_tree
from pellucid.data.source import Batch
from pellucid.fuse import fuse
from pellucid.generators.adversarial import AdversarialGenerator
from pellucid.generators.spectral import Singular, normalized, restored
from pellucid.layers.base import Mode, Params
from pellucid.losses.adversarial import ADVERSARIAL, GANLoss
from pellucid.models.dcgan import dcgan_discriminator, dcgan_generator
from pellucid.objective import Gradients
from pellucid.sweep import backward


@dataclass(frozen=True)
class GAN(AdversarialGenerator):
    """A generator and a discriminator that are trained in turns, the discriminator first.

    The discriminator runs on real and on generated images in separate batches. loss: of both networks, see
    pellucid.losses.adversarial. spectral: whether the discriminator's weights are divided by their largest singular
    values, see `normalized`.
    Losses: "discriminator", "generator".
    Source: Goodfellow et al. 2014, algorithm 1; Radford, Metz and Chintala 2016.
    """

    _: KW_ONLY
    loss: GANLoss = "non_saturating"
    spectral: bool = False

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        """Yield the discriminator's losses and gradients, then the generator's, for the updated discriminator."""
        loss, images = ADVERSARIAL[self.loss], 2 * batch.images - 1
        z = self.latents(len(images), mode.rng, images)
        generated, generator_cache = self.generator.forward(params["generator"], z, mode)

        discriminator_params, singular = self._discriminator_params(params)
        real, real_cache = self.discriminator.forward(discriminator_params, images, mode)
        fake, fake_cache = self.discriminator.forward(discriminator_params, generated, mode)
        value, dreal, dfake = loss.discriminator(real, fake)
        weight = self.weight("discriminator")
        _, first = backward(self.discriminator, discriminator_params, real_cache, weight * dreal, consume=True)
        _, second = backward(self.discriminator, discriminator_params, fake_cache, weight * dfake, consume=True)
        yield (
            {"discriminator": value},
            {"discriminator": restored(add_up_tree(first, second), discriminator_params, singular)},
        )

        discriminator_params, _ = self._discriminator_params(params)
        yield self.generator_turn(params, discriminator_params, generated, generator_cache, loss, mode)

    def _discriminator_params(self, params: Params) -> tuple[Params, dict[str, Singular]]:
        """Return the discriminator's parameters, with spectral normalization if enabled, and its singular values."""
        return normalized(params["discriminator"]) if self.spectral else (params["discriminator"], {})

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
