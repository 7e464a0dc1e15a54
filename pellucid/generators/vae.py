"""The variational auto-encoder."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine.base import init_child
from pellucid.data.source import Batch
from pellucid.generators.base import Generator, initial_parameters
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import BinaryCrossEntropy
from pellucid.models.gmmn import dense_decoder, dense_encoder
from pellucid.objective import Gradients
from pellucid.sweep import backward


@dataclass(frozen=True)
class VAE(Generator):
    """A variational auto-encoder: an encoder outputs the distribution of latent vectors, a decoder maps them to images.

    generator: the decoder, which maps latent vectors to logits of images.
    encoder: maps images to (N, 2 * latent), means and logarithms of variances.
    Losses: "reconstruction", the cross-entropy of each image summed over its pixels, for one latent vector drawn per
    image; and "kl", the divergence from N(0, 1). Their sum is the negative evidence lower bound.
    Source: Kingma and Welling 2014, equation 10 and appendix B.
    """

    encoder: Layer

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw the parameters of both networks; raise PellucidError unless the encoder has 2 * latent outputs."""
        generator = initial_parameters("generator", self.generator, (self.latent,), shape, rng)
        encoder, output_shape = init_child("encoder", self.encoder, shape, rng)
        if output_shape != (2 * self.latent,):
            raise PellucidError(
                f"VAE: the encoder outputs {output_shape}; give it {2 * self.latent} units, two per latent value"
            )
        return {"generator": generator, "encoder": encoder}, shape

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return the two losses and the gradients of both networks."""
        images = batch.images
        n_images = len(batch.images)
        y, encoder_cache = self.encoder.forward(params["encoder"], images, mode)
        mean, log_variance = y.chunk(2, 1)  # (N, latent) each
        std = (log_variance / 2).exp()
        noise = self.latents(n_images, mode.rng, images)
        z = mean + std * noise
        logits, decoder_cache = self.generator.forward(params["generator"], z, mode)
        reconstruction, dlogits = BinaryCrossEntropy(reduction="batch")(logits, images)
        kl = (mean**2 + std**2 - 1 - log_variance).sum() / (2 * n_images)

        dlogits = self.weight("reconstruction") * dlogits
        dz, dgenerator = backward(self.generator, params["generator"], decoder_cache, dlogits, consume=True)
        weight = self.weight("kl") / n_images
        dmean = dz + weight * mean
        dlog_variance = dz * noise * std / 2 + weight / 2 * (std**2 - 1)
        dy = torch.cat([dmean, dlog_variance], 1)
        _, dencoder = backward(self.encoder, params["encoder"], encoder_cache, dy, consume=True)
        return {"reconstruction": reconstruction, "kl": kl}, {"generator": dgenerator, "encoder": dencoder}

    def generate(self, params: Params, z: Tensor) -> Tensor:
        """Return the sigmoid of the decoder's outputs: images with values in 0 to 1."""
        return self.generator.forward(params["generator"], z, Mode(keep=False))[0].sigmoid()


def vae(size: int = 28, channels: int = 1, latent: int = 20, units: int = 400) -> VAE:
    """Return a VAE with one hidden layer of `units` in each network, for images of `size` x `size`."""
    decoder = dense_decoder((channels, size, size), (units,))
    return VAE(decoder, latent, dense_encoder(2 * latent, (units,)))
