"""A small convolutional network for small images."""

from pellucid.combine import Sequential
from pellucid.layers import AdaptiveAvgPool2d, Dense, Dropout, Flatten, MaxPool2d
from pellucid.layers.base import Layer
from pellucid.models.parts import convolutions, network


def convnet(classes: int = 10, width: int = 32, dropout: float = 0.3) -> Sequential:
    """Return a network of six 3 x 3 convolutions, each with batch normalization and ReLU; it outputs logits.

    The convolutions form three blocks. width: the filters of the first block; the second has twice and the third four
    times as many. The first two blocks end with 2 x 2 max pooling; the head averages each map of the third. dropout:
    the probability for these 4 x width averages. For images of at least 4 x 4; with one channel, 10 classes and width
    32 it has 288,170 parameters.
    Source: the blocks of Simonyan and Zisserman 2015 with the normalization of Ioffe and Szegedy 2015 and the
    global average of Lin, Chen and Yan 2014.
    """
    features: dict[str, Layer] = {
        "block1": _block(width, pool=MaxPool2d(2)),
        "block2": _block(2 * width, pool=MaxPool2d(2)),
        "block3": _block(4 * width),
    }
    head: dict[str, Layer] = {
        "pool": AdaptiveAvgPool2d(1),
        "flatten": Flatten(),
        "dropout": Dropout(dropout),
        "scores": Dense(classes),
    }
    return network(features, head)


def _block(filters: int, **pool: Layer) -> Sequential:
    return Sequential(**convolutions(2, filters, norm=True, bias=False), **pool)  # the normalization has a bias
