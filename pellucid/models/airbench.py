"""Airbench: small networks that train fast on small images."""

from pellucid.combine import Sequential
from pellucid.layers import GELU, AdaptiveAvgPool2d, BatchNorm, Conv2d, Dense, Flatten, MaxPool2d
from pellucid.layers.base import Layer
from pellucid.models.parts import LOGITS_INITIALIZER, network, residual

STEM_FILTERS = 24  # filters: a patch of 3 x 2 x 2 values has 12 principal components, each with both signs


def airbench(classes: int = 10, width: int = 64) -> Sequential:
    """Return airbench94, which outputs logits.

    It consists of a 2 x 2 convolution, whose weights can be set to whiten the images, and three stages, each with two
    3 x 3 convolutions and a pooling. width: the filters of the first stage; the other stages have four times as many.
    The 3 x 3 convolutions are initialized to the identity. For images of at least 9 x 9; with three channels, 10
    classes and width 64 it has 1,972,802 parameters.
    Source: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds", section 3.1, with the mean instead of the maximum over the
    last maps, which allows larger images.
    """
    return _network(classes, [_stage(filters) for filters in (width, 4 * width, 4 * width)])


def airbench96(classes: int = 10, width: int = 64) -> Sequential:
    """Return airbench with three 3 x 3 convolutions per stage and a shortcut around the last two; it outputs logits.

    width: the filters of the first stage; the second has 5/2 times and the third 4 times as many. For images of at
    least 9 x 9; with three channels, 10 classes and width 64 it has 2,194,562 parameters.
    Source: Jordan 2024, section 4, whose network for 96 % is wider (128, 384 and 512 filters).
    """
    return _network(classes, [_residual_stage(filters) for filters in (width, 5 * width // 2, 4 * width)])


def _network(classes: int, stages: list[Sequential]) -> Sequential:
    features: dict[str, Layer] = {"stem": Sequential(conv=Conv2d(STEM_FILTERS, 2), act=GELU())}
    features |= {f"stage{number}": stage for number, stage in enumerate(stages, start=1)}
    head: dict[str, Layer] = {
        "pool": AdaptiveAvgPool2d(1),
        "flatten": Flatten(),
        "scores": Dense(classes, init_weight=LOGITS_INITIALIZER),
    }
    return network(features, head)


def _stage(filters: int) -> Sequential:
    return Sequential(
        conv1=_conv(filters),
        pool=MaxPool2d(2),
        norm1=BatchNorm(),
        act1=GELU(),
        conv2=_conv(filters),
        norm2=BatchNorm(),
        act2=GELU(),
    )


def _residual_stage(filters: int) -> Sequential:
    body = Sequential(
        conv2=_conv(filters),
        norm2=BatchNorm(),
        act2=GELU(),
        conv3=_conv(filters),
        norm3=BatchNorm(),
    )
    return Sequential(
        conv1=_conv(filters),
        pool=MaxPool2d(2),
        norm1=BatchNorm(),
        act1=GELU(),
        residual=residual(body),
        act3=GELU(),
    )


def _conv(filters: int) -> Conv2d:
    return Conv2d(filters, 3, padding=1, bias=False, init_weight="dirac")
