"""Generators of generative moment matching networks (GMMN), and an encoder and a decoder for their codes."""

import math
from collections.abc import Sequence

from pellucid.combine import Sequential
from pellucid.layers import Dense, Flatten, ReLU, Reshape, Sigmoid
from pellucid.layers.base import Layer, Shape

HIDDEN_UNITS = (64, 256, 256, 1024)  # of the hidden layers


def gmmn_generator(shape: Shape = (1, 28, 28), units: Sequence[int] = HIDDEN_UNITS) -> Sequential:
    """Return the generator of a GMMN, which maps latent vectors (N, latent) to (N, *shape) with values in 0 to 1.

    It has 1,149,904 parameters for latent vectors of length 10 and images of 28 x 28.
    Source: Li, Swersky and Zemel 2015, section 6.
    """
    return Sequential(
        **_dense_layers(units), out=Dense(math.prod(shape)), sigmoid=Sigmoid(), shape=Reshape(tuple(shape))
    )


def dense_encoder(codes: int = 32, units: Sequence[int] = (1024,)) -> Sequential:
    """Return an encoder, which maps images (N, C, H, W) to logits (N, codes); their sigmoids are a GMMN's codes."""
    return Sequential(flatten=Flatten(), **_dense_layers(units), code=Dense(codes))


def dense_decoder(image: Shape = (1, 28, 28), units: Sequence[int] = (1024,)) -> Sequential:
    """Return a decoder, which maps codes (N, codes) to the logits of pixels (N, *image)."""
    return Sequential(**_dense_layers(units), pixels=Dense(math.prod(image)), image=Reshape(tuple(image)))


def _dense_layers(units: Sequence[int]) -> dict[str, Layer]:
    layers: dict[str, Layer] = {}
    for index, n_units in enumerate(units, start=1):
        layers |= {f"dense{index}": Dense(n_units), f"relu{index}": ReLU()}
    return layers
