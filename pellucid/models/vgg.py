"""The VGG networks."""

from pellucid.base.settings.arguments import checked
from pellucid.combine import Sequential
from pellucid.layers import MaxPool2d
from pellucid.models.parts import convolutions, dense_head, network, vgg_head

# By the number of layers with weights, the number of 3 x 3 convolutions in each of the five blocks: Simonyan and
# Zisserman 2015, table 1, columns A, B, D and E.
CONVOLUTIONS_PER_BLOCK = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
FILTERS = (64, 128, 256, 512, 512)


@checked
def vgg11(classes: int = 1000) -> Sequential:
    """Return VGG-11 for 224 x 224 images, 132,863,336 parameters for 1000 classes; it outputs logits.

    Source: Simonyan and Zisserman 2015, table 1, column A.
    """
    return _vgg(11, classes)


@checked
def vgg13(classes: int = 1000) -> Sequential:
    """Return VGG-13 for 224 x 224 images, 133,047,848 parameters for 1000 classes; it outputs logits.

    Source: Simonyan and Zisserman 2015, table 1, column B.
    """
    return _vgg(13, classes)


@checked
def vgg16(classes: int = 1000) -> Sequential:
    """Return VGG-16 for 224 x 224 images, 138,357,544 parameters for 1000 classes; it outputs logits.

    Source: Simonyan and Zisserman 2015, table 1, column D.
    """
    return _vgg(16, classes)


@checked
def vgg19(classes: int = 1000) -> Sequential:
    """Return VGG-19 for 224 x 224 images, 143,667,240 parameters for 1000 classes; it outputs logits.

    Source: Simonyan and Zisserman 2015, table 1, column E.
    """
    return _vgg(19, classes)


@checked
def vgg11_bn(classes: int = 1000) -> Sequential:
    """Return VGG-11 with batch normalization, 132,868,840 parameters for 1000 classes; it outputs logits.

    Source: Simonyan and Zisserman 2015, table 1, column A; Ioffe and Szegedy 2015.
    """
    return _vgg(11, classes, norm=True)


@checked
def vgg13_bn(classes: int = 1000) -> Sequential:
    """Return VGG-13 with batch normalization, 133,053,736 parameters for 1000 classes; it outputs logits.

    Source: Simonyan and Zisserman 2015, table 1, column B; Ioffe and Szegedy 2015.
    """
    return _vgg(13, classes, norm=True)


@checked
def vgg16_bn(classes: int = 1000) -> Sequential:
    """Return VGG-16 with batch normalization, 138,365,992 parameters for 1000 classes; it outputs logits.

    Source: Simonyan and Zisserman 2015, table 1, column D; Ioffe and Szegedy 2015.
    """
    return _vgg(16, classes, norm=True)


@checked
def vgg19_bn(classes: int = 1000) -> Sequential:
    """Return VGG-19 with batch normalization, 143,678,248 parameters for 1000 classes; it outputs logits.

    Source: Simonyan and Zisserman 2015, table 1, column E; Ioffe and Szegedy 2015.
    """
    return _vgg(19, classes, norm=True)


def vgg_small(classes: int = 10, width: int = 32, dropout: float = 0.5) -> Sequential:
    """Return a small VGG network of three blocks for images of 28 x 28 or 32 x 32; it outputs logits.

    Each block has two 3 x 3 convolutions and halves height and width. width: the filters of the first block; the second
    has twice and the third four times as many. The hidden dense layers have 256 units. dropout: the probability before
    each dense layer. For 28 x 28 images with one channel: 649,962 parameters; the child `features` outputs (128, 3, 3).
    Source: adapted from Simonyan and Zisserman 2015, table 1, column B.
    """
    blocks = {f"block{index}": _block(2, width * 2 ** (index - 1), norm=False) for index in (1, 2, 3)}
    return network(blocks, dense_head(classes, (256, 256), dropout))


def _vgg(n_layers: int, classes: int, norm: bool = False) -> Sequential:
    blocks = zip(CONVOLUTIONS_PER_BLOCK[n_layers], FILTERS, strict=True)
    features = {f"block{index}": _block(*block, norm) for index, block in enumerate(blocks, start=1)}
    return network(features, vgg_head(classes, 7))


def _block(n_convolutions: int, filters: int, norm: bool) -> Sequential:
    # A bias has no effect before batch normalization, but torchvision's weights have one.
    layers = convolutions(n_convolutions, filters, norm, bias=True)
    return Sequential(**layers, pool=MaxPool2d(2))
