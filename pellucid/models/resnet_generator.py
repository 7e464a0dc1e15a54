"""A residual generator that translates images to images."""

from pellucid.combine import Parallel, Sequential
from pellucid.layers import Add, Conv2d, ConvTranspose2d, Identity, Pad2d, ReLU, Tanh
from pellucid.layers.base import Layer
from pellucid.models.pix2pix import INITIALIZER, NormName, named_norm


def resnet_generator(filters: int = 3, width: int = 64, blocks: int = 9, norm: NormName = "instance") -> Sequential:
    """Return a network that maps images to images of `filters` channels in -1 to 1.

    Two convolutions each halve height and width, residual blocks follow, and two transposed convolutions each double
    height and width. It has 11,378,179 parameters for RGB images with 9 blocks. Height and width must be multiples of
    4. Source: Johnson, Alahi and Fei-Fei 2016, in the version of Zhu et al. 2017, section 7.2.
    """
    layers: dict[str, Layer] = _conv(1, width, norm, 7)
    for number in (2, 3):
        channels = width * 2 ** (number - 1)
        conv = Conv2d(channels, 3, stride=2, padding=1, bias=norm != "batch", init_weight=INITIALIZER)
        layers |= {f"down{number}": conv, **named_norm(f"norm{number}", norm), f"relu{number}": ReLU()}
    for number in range(1, blocks + 1):
        body = Sequential(**_conv(1, 4 * width, norm, 3), **_conv(2, 4 * width, norm, 3, relu=False))
        layers[f"block{number}"] = Parallel({"skip": Identity(), "body": body}, Add())
    for number in (1, 2):
        up_conv = ConvTranspose2d(
            4 * width // 2**number,
            3,
            stride=2,
            padding=1,
            output_padding=1,
            bias=norm != "batch",
            init_weight=INITIALIZER,
        )
        layers |= {f"up{number}": up_conv, **named_norm(f"norm_up{number}", norm), f"relu_up{number}": ReLU()}
    image = Conv2d(filters, 7, init_weight=INITIALIZER)
    return Sequential(**layers, pad=Pad2d(3, "reflect"), image=image, tanh=Tanh())


def _conv(number: int, filters: int, norm: NormName, kernel: int, relu: bool = True) -> dict[str, Layer]:
    """Return reflection padding, a convolution, its normalization and, if `relu`, a ReLU."""
    conv = Conv2d(filters, kernel, bias=norm != "batch", init_weight=INITIALIZER)
    layers: dict[str, Layer] = {f"pad{number}": Pad2d(kernel // 2, "reflect"), f"conv{number}": conv}
    layers |= named_norm(f"norm{number}", norm)
    return layers | ({f"relu{number}": ReLU()} if relu else {})
