"""pix2pix: the U-Net that makes an image of another one, and the discriminator of patches."""

from typing import Literal

from pellucid.combine import Parallel, Sequential
from pellucid.errors import PellucidError
from pellucid.layers import (
    BatchNorm,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Identity,
    InstanceNorm2d,
    LeakyReLU,
    ReLU,
    Tanh,
)
from pellucid.layers.base import Layer

Norm = Literal["batch", "instance", "none"]
Field = Literal[1, 16, 34, 70, 142, 286]  # pixels
DRAWN = "gan"  # the initializer
SLOPE = 0.2  # of LeakyReLU
WIDEST = 8  # times `width`, the most channels
DROPPED = 3  # decoder blocks with dropout, at most
FIELDS: dict[int, int] = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}  # convolutions of stride 2 by receptive field


def unet_generator(
    filters: int = 3, width: int = 64, levels: int = 8, norm: Norm = "batch", dropout: float = 0.5
) -> Sequential:
    """Return pix2pix's U-Net, from images to images of `filters` channels in -1 to 1.

    54,413,955 parameters for RGB images of 256 x 256 with 8 levels, 41,824,898 from 1 to 2 channels with 7. Each level
    halves height and width, which must be multiples of 2^levels; it has twice the channels of the one before, up to
    8 `width`. dropout: of the at most three decoder blocks nearest to the bottleneck, among those with the most
    channels. Source: Isola et al. 2017, section 6.1.
    """
    up = ConvTranspose2d(filters, 4, stride=2, padding=1, init_weight=DRAWN)
    return Sequential(**unet_levels(width, levels, norm, dropout), relu=ReLU(), up=up, tanh=Tanh())


def unet_levels(width: int, levels: int, norm: Norm, dropout: float) -> dict[str, Layer]:
    """Return the same without the last upsampling: 2 `width` channels at half of the height and width."""
    if levels < 2:
        raise PellucidError(f"unet_generator: levels={levels} leaves no skip; use 2 or more")
    inner: dict[str, Layer] = {}
    for level in range(levels, 1, -1):
        down, up = (width * min(2**step, WIDEST) for step in (level - 1, level - 2))
        layers: dict[str, Layer] = {"leaky": LeakyReLU(SLOPE), "down": _down(down, norm)}
        layers |= (named_norm("norm", norm) | inner) if inner else {}
        layers |= {"relu": ReLU(), "up": _up(up, norm), **named_norm("norm_up", norm)}
        if dropout and levels - level < DROPPED and up == width * WIDEST:
            layers["dropout"] = Dropout(dropout)
        inner = {f"level{level}": Parallel({"skip": Identity(), "deeper": Sequential(**layers)}, Concat())}
    return {"down": _down(width, norm), **inner}


def patch_discriminator(field: Field = 70, width: int = 64, norm: Norm = "batch") -> Sequential:
    """Return PatchGAN's discriminator, whose outputs (1, H', W') are each one logit for a patch of `field` pixels.

    2,768,705 parameters for inputs of 6 channels with the field 70, and 9,024 with the field 1, a patch of one pixel.
    Height and width must be at least 2^(n + 1), with n = 1 to 5 for the fields 16 to 286.
    Source: Isola et al. 2017, section 6.1.2; its sizes are those of the authors' code.
    """
    halvings = FIELDS[field]
    kernel, padding = (4, 1) if halvings else (1, 0)
    layers: dict[str, Layer] = {}
    for number in range(1, max(halvings + 1, 2) + 1):
        stride = 2 if number <= halvings else 1
        filters, normed = width * min(2 ** (number - 1), WIDEST), norm if number > 1 else "none"
        bias = normed != "batch"
        conv = Conv2d(filters, kernel, stride=stride, padding=padding, bias=bias, init_weight=DRAWN)
        layers |= {f"conv{number}": conv, **named_norm(f"norm{number}", normed), f"leaky{number}": LeakyReLU(SLOPE)}
    last = Conv2d(1, kernel, padding=padding, bias=bool(halvings) or norm != "batch", init_weight=DRAWN)
    return Sequential(**layers, scores=last)


def _down(filters: int, norm: Norm) -> Conv2d:
    return Conv2d(filters, 4, stride=2, padding=1, bias=norm != "batch", init_weight=DRAWN)


def _up(filters: int, norm: Norm) -> ConvTranspose2d:
    return ConvTranspose2d(filters, 4, stride=2, padding=1, bias=norm != "batch", init_weight=DRAWN)


def named_norm(name: str, norm: Norm) -> dict[str, Layer]:
    """Return the normalization by its name in a network, {} for none; batch normalization replaces a bias."""
    if norm == "none":
        return {}
    return {name: BatchNorm() if norm == "batch" else InstanceNorm2d()}
