"""pix2pix: the U-Net generator that translates images to images, and the patch discriminator."""

from typing import Literal

from pellucid.base.errors import PellucidError
from pellucid.combine import Parallel, Sequential
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

NormName = Literal["batch", "instance", "none"]
Field = Literal[1, 16, 34, 70, 142, 286]  # receptive field in pixels
INITIALIZER = "gan"
SLOPE = 0.2  # of LeakyReLU
MAX_FACTOR = 8  # largest ratio of channels to `width`
MAX_DROPOUTS = 3  # decoder blocks with dropout
# Number of convolutions with stride 2 by receptive field.
HALVINGS_BY_FIELD: dict[int, int] = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}


def unet_generator(
    filters: int = 3, width: int = 64, levels: int = 8, norm: NormName = "batch", dropout: float = 0.5
) -> Sequential:
    """Return pix2pix's U-Net, which maps images to images of `filters` channels in -1 to 1.

    It has 54,413,955 parameters for RGB images of 256 x 256 with 8 levels, and 41,824,898 from 1 to 2 channels with 7
    levels. Each level halves height and width, which must be multiples of 2^levels; it has twice as many channels as
    the previous level, up to 8 * `width`. dropout: the probability in the first three decoder blocks after the
    bottleneck, if they have 8 * `width` channels. Source: Isola et al. 2017, section 6.1.
    """
    up = ConvTranspose2d(filters, 4, stride=2, padding=1, init_weight=INITIALIZER)
    return Sequential(**unet_levels(width, levels, norm, dropout), relu=ReLU(), up=up, tanh=Tanh())


def unet_levels(width: int, levels: int, norm: NormName, dropout: float) -> dict[str, Layer]:
    """Return `unet_generator` without the last upsampling: 2 * `width` channels at half the height and width."""
    if levels < 2:
        raise PellucidError(f"unet_generator: levels={levels} has no skip connection; use 2 or more")
    inner_levels: dict[str, Layer] = {}
    for level in range(levels, 1, -1):
        down_filters, up_filters = (width * min(2**step, MAX_FACTOR) for step in (level - 1, level - 2))
        layers: dict[str, Layer] = {"leaky": LeakyReLU(SLOPE), "down": _down_conv(down_filters, norm)}
        layers |= (named_norm("norm", norm) | inner_levels) if inner_levels else {}
        layers |= {"relu": ReLU(), "up": _up_conv(up_filters, norm), **named_norm("norm_up", norm)}
        if dropout and levels - level < MAX_DROPOUTS and up_filters == width * MAX_FACTOR:
            layers["dropout"] = Dropout(dropout)
        inner_levels = {f"level{level}": Parallel({"skip": Identity(), "deeper": Sequential(**layers)}, Concat())}
    return {"down": _down_conv(width, norm), **inner_levels}


def patch_discriminator(field: Field = 70, width: int = 64, norm: NormName = "batch") -> Sequential:
    """Return PatchGAN's discriminator; each of its outputs (1, H', W') is the logit of a patch of `field` pixels.

    It has 2,768,705 parameters for inputs of 6 channels with field 70, and 9,024 with field 1, a patch of one pixel.
    Height and width must be at least 2^(n + 1), where n = 1 to 5 for the fields 16 to 286.
    Source: Isola et al. 2017, section 6.1.2, with the sizes of the authors' code.
    """
    halvings = HALVINGS_BY_FIELD[field]
    kernel, padding = (4, 1) if halvings else (1, 0)
    layers: dict[str, Layer] = {}
    for number in range(1, max(halvings + 1, 2) + 1):
        stride = 2 if number <= halvings else 1
        filters = width * min(2 ** (number - 1), MAX_FACTOR)
        layer_norm = norm if number > 1 else "none"
        has_bias = layer_norm != "batch"
        conv = Conv2d(filters, kernel, stride=stride, padding=padding, bias=has_bias, init_weight=INITIALIZER)
        layers |= {f"conv{number}": conv, **named_norm(f"norm{number}", layer_norm), f"leaky{number}": LeakyReLU(SLOPE)}
    score_conv = Conv2d(1, kernel, padding=padding, bias=bool(halvings) or norm != "batch", init_weight=INITIALIZER)
    return Sequential(**layers, scores=score_conv)


def _down_conv(filters: int, norm: NormName) -> Conv2d:
    return Conv2d(filters, 4, stride=2, padding=1, bias=norm != "batch", init_weight=INITIALIZER)


def _up_conv(filters: int, norm: NormName) -> ConvTranspose2d:
    return ConvTranspose2d(filters, 4, stride=2, padding=1, bias=norm != "batch", init_weight=INITIALIZER)


def named_norm(name: str, norm: NormName) -> dict[str, Layer]:
    """Return {name: normalization layer}, or {} for the norm "none"."""
    if norm == "none":
        return {}
    return {name: BatchNorm() if norm == "batch" else InstanceNorm2d()}
