"""The residual networks for CIFAR-10."""

from pellucid.combine import Sequential
from pellucid.layers import AvgPool2d, Identity, PadChannels
from pellucid.layers.base import Layer
from pellucid.models.parts import average_head, conv_norm_relu, network
from pellucid.models.resnet import basic_body, residual


def resnet20(classes: int = 10, width: int = 16) -> Sequential:
    """Return ResNet-20 for 32 x 32 images, 269,722 parameters for three channels and 10 classes; it ends in logits.

    width: the filters of the first of three stages, of which the second has twice and the third four times as many.
    Source: He, Zhang, Ren and Sun 2016, section 4.2 and table 6 (0.27 M), shortcuts without parameters (option A).
    """
    return _resnet(3, classes, width)


def resnet32(classes: int = 10, width: int = 16) -> Sequential:
    """Return ResNet-32 for 32 x 32 images, 464,154 parameters for three channels and 10 classes; it ends in logits.

    width: see resnet20.
    Source: He, Zhang, Ren and Sun 2016, section 4.2 and table 6 (0.46 M), shortcuts without parameters (option A).
    """
    return _resnet(5, classes, width)


def resnet56(classes: int = 10, width: int = 16) -> Sequential:
    """Return ResNet-56 for 32 x 32 images, 853,018 parameters for three channels and 10 classes; it ends in logits.

    width: see resnet20.
    Source: He, Zhang, Ren and Sun 2016, section 4.2 and table 6 (0.85 M), shortcuts without parameters (option A).
    """
    return _resnet(9, classes, width)


def _resnet(depth: int, classes: int, width: int) -> Sequential:
    features: dict[str, Layer] = {"stem": Sequential(**conv_norm_relu("conv", width, 3, padding=1))}
    for index in (1, 2, 3):
        blocks: dict[str, Layer] = {}
        for number in range(1, depth + 1):
            halves = number == 1 and index > 1
            filters = width * 2 ** (index - 1)
            shortcut = _halved(filters // 2) if halves else Identity()
            blocks[f"block{number}"] = residual(shortcut, basic_body(filters, 2 if halves else 1))
        features[f"stage{index}"] = Sequential(**blocks)
    return network(features, average_head(classes))


def _halved(channels: int) -> Sequential:
    """Return every second pixel, and as many channels of zeros behind the channels."""
    return Sequential(every_second=AvgPool2d(1, 2), zeros=PadChannels(0, channels))
