"""Generative moment matching networks, of images and of the codes of an auto-encoder."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import init_child
from pellucid.data.source import Batch
from pellucid.generators.base import Generator, Prior, drawn
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import BinaryCrossEntropy
from pellucid.losses.mmd import BANDWIDTHS, mmd
from pellucid.models.gmmn import dense_decoder, dense_encoder, gmmn_generator
from pellucid.objective import Gradients
from pellucid.sweep import backward

OF_CODES = (0.05, 0.1, 0.2, 0.4)  # bandwidths for codes, whose mean squared distance was 2.5 on digits, not 100


@dataclass(frozen=True)
class GMMN(Generator):
    """A generator whose samples are to have the moments of the data: the loss is `scale` times their MMD.

    The kernel's moments are those of batches, which must be large, some hundreds of images. bandwidths: of `mmd`.
    Losses: "mmd", without the scale.
    Source: Li, Swersky and Zemel 2015, algorithm 1, whose authors' code has the scale 1000.
    """

    _: KW_ONLY
    prior: Prior = "uniform"
    bandwidths: tuple[float, ...] = BANDWIDTHS
    scale: float = 1000.0

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw the generator's parameters."""
        return {"generator": drawn("generator", self.generator, (self.latent,), shape, rng)}, shape

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return the discrepancy of as many samples as images, and its gradients."""
        z = self.latents(len(batch.images), mode.rng, batch.images)
        made, making = self.generator.forward(params["generator"], z, mode)
        value, dmade = mmd(made.flatten(1), batch.images.flatten(1), self.bandwidths)
        dmade = self.weight("mmd") * self.scale * dmade.view_as(made)
        return {"mmd": value}, {"generator": backward(self.generator, params["generator"], making, dmade)[1]}

    def draw(self, params: Params, z: Tensor) -> Tensor:
        """Return the generator's images."""
        return self.generator.forward(params["generator"], z, Mode(keep=False))[0]


@dataclass(frozen=True)
class CodeGMMN(Generator):
    """A GMMN of the codes of an auto-encoder, which learn in turns; the decoder makes images of codes.

    encoder: from images to logits of codes (N, codes). decoder: from codes to logits of images. generator: from latent
    vectors to codes. noise: the fraction of the encoder's input pixels that are set to 0 in training. The codes are
    constants to the generator's loss.
    Losses: "reconstruction", the cross-entropy of each image summed over its pixels, and "mmd" of codes.
    Source: Li, Swersky and Zemel 2015, section 3.2, who train the auto-encoder first.
    """

    encoder: Layer
    decoder: Layer
    _: KW_ONLY
    prior: Prior = "uniform"
    bandwidths: tuple[float, ...] = BANDWIDTHS
    scale: float = 1000.0
    noise: float = 0.0

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw all parameters."""
        encoder, codes = init_child("encoder", self.encoder, shape, rng)
        decoder = drawn("decoder", self.decoder, codes, shape, rng)
        generator, _ = init_child("generator", self.generator, (self.latent,), rng)
        return {"generator": generator, "encoder": encoder, "decoder": decoder}, shape

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        """Yield the auto-encoder's turn, and that of the generator of its codes."""
        images = batch.images
        seen = images
        if mode.train and self.noise:
            kept = torch.rand(images.shape, generator=mode.rng, device=images.device) >= self.noise
            seen = images * kept
        logits, encoding = self.encoder.forward(params["encoder"], seen, mode)
        codes = logits.sigmoid()
        pixels, decoding = self.decoder.forward(params["decoder"], codes, mode)
        value, dpixels = BinaryCrossEntropy(reduction="batch")(pixels, images)
        dpixels = self.weight("reconstruction") * dpixels
        dcodes, ddecoder = backward(self.decoder, params["decoder"], decoding, dpixels, consume=True)
        dlogits = dcodes * codes * (1 - codes)
        _, dencoder = backward(self.encoder, params["encoder"], encoding, dlogits, consume=True)
        yield {"reconstruction": value}, {"encoder": dencoder, "decoder": ddecoder}

        codes = self.encoder.forward(params["encoder"], images, Mode(keep=False))[0].sigmoid()
        z = self.latents(len(images), mode.rng, images)
        made, making = self.generator.forward(params["generator"], z, mode)
        value, dmade = mmd(made, codes, self.bandwidths)
        dmade = self.weight("mmd") * self.scale * dmade
        _, dgenerator = backward(self.generator, params["generator"], making, dmade, consume=True)
        yield {"mmd": value}, {"generator": dgenerator}

    def draw(self, params: Params, z: Tensor) -> Tensor:
        """Return the decoder's images of generated codes."""
        codes, _ = self.generator.forward(params["generator"], z, Mode(keep=False))
        return self.decoder.forward(params["decoder"], codes, Mode(keep=False))[0].sigmoid()


def gmmn(size: int = 28, channels: int = 1, latent: int = 10, bandwidths: tuple[float, ...] = BANDWIDTHS) -> GMMN:
    """Return a GMMN of images of `size` x `size` with hidden layers of 64, 256, 256 and 1024 units."""
    return GMMN(gmmn_generator((channels, size, size)), latent, bandwidths=bandwidths)


def gmmn_ae(
    size: int = 28, channels: int = 1, latent: int = 10, codes: int = 32, units: int = 1024,
    bandwidths: tuple[float, ...] = OF_CODES, noise: float = 0.0,
) -> CodeGMMN:  # fmt: skip
    """Return a GMMN of `codes` numbers for images of `size` x `size`; units: of the auto-encoder's hidden layers."""
    decoder = dense_decoder((channels, size, size), (units,))
    return CodeGMMN(
        gmmn_generator((codes,)), latent, dense_encoder(codes, (units,)), decoder, bandwidths=bandwidths, noise=noise
    )
