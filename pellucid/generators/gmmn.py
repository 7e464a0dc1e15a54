"""Generative moment matching networks (GMMN) for images and for the codes of an auto-encoder."""

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.settings.checks import check_above_zero, check_within
from pellucid.combine.base import init_child
from pellucid.constant import with_gradient_of
from pellucid.data.source import Batch
from pellucid.generators.base import Generator, Prior, initial_parameters
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import BinaryCrossEntropy
from pellucid.losses.mmd import BANDWIDTHS, mmd
from pellucid.models.gmmn import dense_decoder, dense_encoder, gmmn_generator
from pellucid.objective import Gradients
from pellucid.sweep import backward

# Smaller than BANDWIDTHS: on digits the mean squared distance of two examples was 2.5 for codes, 100 for images.
CODE_BANDWIDTHS = (0.05, 0.1, 0.2, 0.4)
INDIVISIBLE_REASON = "the MMD compares every image of a batch with every other"


@dataclass(frozen=True)
class MomentMatching(Generator):
    """Base class of generators whose loss is the maximum mean discrepancy (MMD) times `scale`.

    bandwidths: of the kernel, see `mmd`.
    """

    _: KW_ONLY
    prior: Prior = "uniform"
    bandwidths: tuple[float, ...] = BANDWIDTHS
    scale: float = 1000.0

    def __post_init__(self) -> None:
        """Raise PellucidError for bandwidths or a scale that are not above 0."""
        super().__post_init__()
        check_above_zero(self, math.inf, bandwidths=self.bandwidths, scale=self.scale)

    @property
    def indivisible(self) -> str:
        """The reason why the loss of a batch cannot be computed from parts of the batch."""
        return INDIVISIBLE_REASON


@dataclass(frozen=True)
class GMMN(MomentMatching):
    """A generator trained with the maximum mean discrepancy (MMD) of samples and images, times `scale`.

    The MMD is estimated from each batch, which should have a few hundred images. bandwidths: see `mmd`.
    Losses: "mmd", without the scale.
    Source: Li, Swersky and Zemel 2015, algorithm 1, with the scale 1000 of the authors' code.
    """

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw the generator's parameters."""
        return {"generator": initial_parameters("generator", self.generator, (self.latent,), shape, rng)}, shape

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return the MMD of the images and an equal number of samples, and its gradients times `scale`."""
        z = self.latents(len(batch.images), mode.rng, batch.images)
        generated, generator_cache = self.generator.forward(params["generator"], z, mode)
        value, dgenerated = mmd(generated.flatten(1), batch.images.flatten(1), self.bandwidths)
        dgenerated = self.weight("mmd") * self.scale * dgenerated.view_as(generated)
        value = with_gradient_of(value, self.scale * value)
        _, dparams = backward(self.generator, params["generator"], generator_cache, dgenerated)
        return {"mmd": value}, {"generator": dparams}

    def generate(self, params: Params, z: Tensor) -> Tensor:
        """Return the generator's outputs, images with values in 0 to 1."""
        return self.generator.forward(params["generator"], z, Mode(keep=False))[0]


@dataclass(frozen=True)
class CodeGMMN(MomentMatching):
    """A GMMN that generates codes of an auto-encoder, trained in turns with it; the decoder maps codes to images.

    The generator's loss has no gradient with respect to the encoder.
    encoder: maps images to logits of codes (N, codes).
    decoder: maps codes to logits of images.
    generator: maps latent vectors to codes.
    noise: the fraction of the encoder's input pixels that are set to 0 in training.
    Losses: "reconstruction", the cross-entropy of each image summed over its pixels, and "mmd" of codes.
    Source: Li, Swersky and Zemel 2015, section 3.2, where the auto-encoder is trained first.
    """

    encoder: Layer
    decoder: Layer
    _: KW_ONLY
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Raise PellucidError for noise outside 0 to 1, or for bandwidths or a scale that are not above 0."""
        super().__post_init__()
        check_within(self, 0, 1, noise=self.noise)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw all parameters."""
        encoder, codes = init_child("encoder", self.encoder, shape, rng)
        decoder = initial_parameters("decoder", self.decoder, codes, shape, rng)
        generator, _ = init_child("generator", self.generator, (self.latent,), rng)
        return {"generator": generator, "encoder": encoder, "decoder": decoder}, shape

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        """Yield the auto-encoder's losses and gradients, then the generator's for codes of the updated encoder."""
        images = batch.images
        inputs = images
        if mode.train and self.noise:
            mask = torch.rand(images.shape, generator=mode.rng, device=images.device) >= self.noise
            inputs = images * mask
        logits, encoder_cache = self.encoder.forward(params["encoder"], inputs, mode)
        codes = logits.sigmoid()
        pixel_logits, decoder_cache = self.decoder.forward(params["decoder"], codes, mode)
        value, dpixel_logits = BinaryCrossEntropy(reduction="batch")(pixel_logits, images)
        dpixel_logits = self.weight("reconstruction") * dpixel_logits
        dcodes, ddecoder = backward(self.decoder, params["decoder"], decoder_cache, dpixel_logits, consume=True)
        dlogits = dcodes * codes * (1 - codes)
        _, dencoder = backward(self.encoder, params["encoder"], encoder_cache, dlogits, consume=True)
        yield {"reconstruction": value}, {"encoder": dencoder, "decoder": ddecoder}

        codes = self.encoder.forward(params["encoder"], images, Mode(keep=False))[0].sigmoid()
        z = self.latents(len(images), mode.rng, images)
        generated, generator_cache = self.generator.forward(params["generator"], z, mode)
        value, dgenerated = mmd(generated, codes, self.bandwidths)
        dgenerated = self.weight("mmd") * self.scale * dgenerated
        _, dgenerator = backward(self.generator, params["generator"], generator_cache, dgenerated, consume=True)
        yield {"mmd": with_gradient_of(value, self.scale * value)}, {"generator": dgenerator}

    def generate(self, params: Params, z: Tensor) -> Tensor:
        """Return the images that the decoder outputs for generated codes."""
        codes, _ = self.generator.forward(params["generator"], z, Mode(keep=False))
        return self.decoder.forward(params["decoder"], codes, Mode(keep=False))[0].sigmoid()


def gmmn(size: int = 28, channels: int = 1, latent: int = 10, bandwidths: tuple[float, ...] = BANDWIDTHS) -> GMMN:
    """Return a GMMN for images of `size` x `size` with hidden layers of 64, 256, 256 and 1024 units."""
    return GMMN(gmmn_generator((channels, size, size)), latent, bandwidths=bandwidths)


def gmmn_ae(
    size: int = 28, channels: int = 1, latent: int = 10, codes: int = 32, units: int = 1024,
    bandwidths: tuple[float, ...] = CODE_BANDWIDTHS, noise: float = 0.0,
) -> CodeGMMN:  # fmt: skip
    """Return a GMMN that generates codes of length `codes`, with an auto-encoder of `size` x `size` images.

    units: of the hidden layer of the encoder and of the decoder.
    """
    decoder = dense_decoder((channels, size, size), (units,))
    return CodeGMMN(
        gmmn_generator((codes,)), latent, dense_encoder(codes, (units,)), decoder, bandwidths=bandwidths, noise=noise
    )
