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
    """A generator against a discriminator, which learn in turns, the discriminator first.

    Real and generated images are batches of their own to the discriminator. loss: of both, see
    pellucid.losses.adversarial. spectral: whether the discriminator's weights are divided by their largest singular
    values, see `normalized`.
    Losses: "discriminator", "generator".
    Source: Goodfellow et al. 2014, algorithm 1; Radford, Metz and Chintala 2016.
    """

    _: KW_ONLY
    loss: GANLoss = "non_saturating"
    spectral: bool = False

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        """Yield the discriminator's turn, and the generator's against the discriminator that has just learned."""
        loss, images = ADVERSARIAL[self.loss], 2 * batch.images - 1
        z = self.latents(len(images), mode.rng, images)
        made, making = self.generator.forward(params["generator"], z, mode)

        judging, singular = self._judging(params)
        real, of_real = self.discriminator.forward(judging, images, mode)
        fake, of_fake = self.discriminator.forward(judging, made, mode)
        value, dreal, dfake = loss.discriminator(real, fake)
        weight = self.weight("discriminator")
        _, first = backward(self.discriminator, judging, of_real, weight * dreal, consume=True)
        _, second = backward(self.discriminator, judging, of_fake, weight * dfake, consume=True)
        yield {"discriminator": value}, {"discriminator": restored(add_up_tree(first, second), judging, singular)}

        judging, _ = self._judging(params)
        yield self.generator_turn(params, judging, made, making, loss, mode)

    def _judging(self, params: Params) -> tuple[Params, dict[str, Singular]]:
        """Return the parameters that the discriminator runs with."""
        return normalized(params["discriminator"]) if self.spectral else (params["discriminator"], {})

    def fused(self) -> "GAN":
        """Return the GAN over fused forms of its networks."""
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

    spectral: spectral normalization of the discriminator in place of its batch normalization.
    """
    discriminator = dcgan_discriminator(size, width, norm=not spectral)
    return GAN(dcgan_generator(size, channels, width), latent, discriminator, loss=loss, spectral=spectral)
