"""A GAN whose discriminator is regularized by R1."""

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

from pellucid.base.settings.checks import check_within
from pellucid.combine.base import add_up_tree
from pellucid.data.source import Batch
from pellucid.generators.gan import AdversarialGenerator
from pellucid.generators.penalty import gradient_penalty, zero_centred_penalty
from pellucid.layers.base import Mode, Params
from pellucid.losses.adversarial import NonSaturating
from pellucid.models.dcgan import dcgan_discriminator, dcgan_generator
from pellucid.nested import map_tree
from pellucid.objective import Gradients


@dataclass(frozen=True)
class R1GAN(AdversarialGenerator):
    """A GAN whose discriminator has a penalty on its gradients with respect to real images.

    discriminator: piecewise linear and without batch normalization, see `gradient_penalty`.
    gamma: the factor in the penalty gamma/2 E ‖g‖², where g is the gradient of the logit with respect to an image with
        values in -1 to 1. The penalty is added in every step.
    Losses: the non-saturating "discriminator" and "generator", and "penalty".
    Source: Mescheder, Geiger and Nowozin 2018, equation 9.
    """

    _: KW_ONLY
    gamma: float = 10.0

    def __post_init__(self) -> None:
        """Raise PellucidError for a negative gamma."""
        super().__post_init__()
        check_within(self, 0, math.inf, gamma=self.gamma)

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        """Yield the discriminator's losses and gradients, then the generator's with the updated discriminator."""
        loss = NonSaturating()
        images = 2 * batch.images - 1
        z = self.latents(len(images), mode.rng, images)
        generated, generator_cache = self.generator.forward(params["generator"], z, mode)

        losses, dparams = self.discriminator_turn(params["discriminator"], images, generated, loss, mode)
        penalty, dpenalty, _ = gradient_penalty(
            self.discriminator, params["discriminator"], images, zero_centred_penalty(self.gamma), mode
        )
        dpenalty = map_tree(lambda gradient: self.weight("penalty") * gradient, dpenalty)
        yield losses | {"penalty": penalty}, {"discriminator": add_up_tree(dparams, dpenalty)}

        yield self.generator_turn(params, params["discriminator"], generated, generator_cache, loss, mode)


def r1_gan(size: int = 28, channels: int = 1, width: int = 32, latent: int = 100, gamma: float = 10.0) -> R1GAN:
    """Return an R1-regularized DCGAN for images of `size` x `size`, without normalization in the discriminator."""
    discriminator = dcgan_discriminator(size, width, norm=False)
    return R1GAN(dcgan_generator(size, channels, width), latent, discriminator, gamma=gamma)
