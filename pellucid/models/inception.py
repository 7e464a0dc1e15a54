"""Inception-v3."""

from typing import NamedTuple

from pellucid.base.settings.arguments import checked
from pellucid.combine import Parallel, Sequential
from pellucid.layers import AdaptiveAvgPool2d, AvgPool2d, Concat, Dense, Flatten, MaxPool2d
from pellucid.layers.base import Layer
from pellucid.models.parts import LOGITS_INITIALIZER, average_head, conv_norm_relu, network, network_with_auxiliaries

EPSILON = 1e-3  # of the batch normalization


class Conv(NamedTuple):
    """Arguments of one convolution of a branch; batch normalization and ReLU follow it."""

    filters: int
    kernel: int | tuple[int, int]
    stride: int = 1
    padding: int | tuple[int, int] = 0


@checked
def inception_v3(classes: int = 1000, auxiliary: bool = False, count_include_pad: bool = True) -> Sequential:
    """Return Inception-v3 as in torchvision; it outputs logits.

    For 299 x 299 images: 23,834,568 parameters with three channels and 1000 classes; the child `features`
    outputs (2048, 8, 8).
    auxiliary: whether to add an auxiliary classifier after mixed6e; the output is then the tuple (logits, auxiliary
    logits), the paths of the parameters are unchanged, and there are 27,161,264 parameters. count_include_pad: whether
    the average pooling of the blocks counts zero padding, as torchvision's weights need; use False for Keras' weights.
    Source: Szegedy, Vanhoucke, Ioffe, Shlens and Wojna 2016, table 1, figures 5 to 7 and 10.
    """
    features: dict[str, Layer] = {
        **_conv("conv1", 32, 3, stride=2),
        **_conv("conv2", 32, 3),
        **_conv("conv3", 64, 3, padding=1),
        "pool1": MaxPool2d(3, 2),
        **_conv("conv4", 80, 1),
        **_conv("conv5", 192, 3),
        "pool2": MaxPool2d(3, 2),
        "mixed5b": _mixed5(32, count_include_pad),
        "mixed5c": _mixed5(64, count_include_pad),
        "mixed5d": _mixed5(64, count_include_pad),
        "mixed6a": _reduction6(),
        "mixed6b": _mixed6(128, count_include_pad),
        "mixed6c": _mixed6(160, count_include_pad),
        "mixed6d": _mixed6(160, count_include_pad),
        "mixed6e": _mixed6(192, count_include_pad),
        "mixed7a": _reduction7(),
        "mixed7b": _mixed7(count_include_pad),
        "mixed7c": _mixed7(count_include_pad),
    }
    head = average_head(classes, dropout=0.5)
    if not auxiliary:
        return network(features, head)
    return network_with_auxiliaries(features, head, {"auxiliary": ("mixed6e", _auxiliary(classes))})


def _mixed5(pool_filters: int, count_include_pad: bool) -> Parallel:
    """Return the block of figure 5: two 3 x 3 convolutions replace one 5 x 5 convolution; another one is kept."""
    branches: dict[str, Layer] = {
        "branch1x1": _conv_sequence(Conv(64, 1)),
        "branch5x5": _conv_sequence(Conv(48, 1), Conv(64, 5, 1, 2)),
        "branch3x3double": _conv_sequence(Conv(64, 1), Conv(96, 3, 1, 1), Conv(96, 3, 1, 1)),
        "branch_pool": _pool_branch(pool_filters, count_include_pad),
    }
    return Parallel(branches, Concat())


def _reduction6() -> Parallel:
    """Return the block of figure 10, which halves height and width."""
    branches: dict[str, Layer] = {
        "branch3x3": _conv_sequence(Conv(384, 3, 2, 0)),
        "branch3x3double": _conv_sequence(Conv(64, 1), Conv(96, 3, 1, 1), Conv(96, 3, 2, 0)),
        "branch_pool": MaxPool2d(3, 2),
    }
    return Parallel(branches, Concat())


def _mixed6(inner_filters: int, count_include_pad: bool) -> Parallel:
    """Return the block of figure 6: 7 x 7 convolutions are replaced by 1 x 7 and 7 x 1 convolutions."""
    wide = Conv(inner_filters, (1, 7), 1, (0, 3))
    tall = Conv(inner_filters, (7, 1), 1, (3, 0))
    branches: dict[str, Layer] = {
        "branch1x1": _conv_sequence(Conv(192, 1)),
        "branch7x7": _conv_sequence(Conv(inner_filters, 1), wide, Conv(192, (7, 1), 1, (3, 0))),
        "branch7x7double": _conv_sequence(Conv(inner_filters, 1), tall, wide, tall, Conv(192, (1, 7), 1, (0, 3))),
        "branch_pool": _pool_branch(192, count_include_pad),
    }
    return Parallel(branches, Concat())


def _reduction7() -> Parallel:
    """Return the block of figure 10 with 1 x 7 and 7 x 1 convolutions in the second branch."""
    branches: dict[str, Layer] = {
        "branch3x3": _conv_sequence(Conv(192, 1), Conv(320, 3, 2, 0)),
        "branch7x7x3": _conv_sequence(
            Conv(192, 1),
            Conv(192, (1, 7), 1, (0, 3)),
            Conv(192, (7, 1), 1, (3, 0)),
            Conv(192, 3, 2, 0),
        ),
        "branch_pool": MaxPool2d(3, 2),
    }
    return Parallel(branches, Concat())


def _mixed7(count_include_pad: bool) -> Parallel:
    """Return the block of figure 7: two branches end in parallel 1 x 3 and 3 x 1 convolutions."""
    branches: dict[str, Layer] = {
        "branch1x1": _conv_sequence(Conv(320, 1)),
        "branch3x3": Sequential(**_conv("conv1", 384, 1), ends=_wide_and_tall()),
        "branch3x3double": Sequential(
            **_conv("conv1", 448, 1), **_conv("conv2", 384, 3, padding=1), ends=_wide_and_tall()
        ),
        "branch_pool": _pool_branch(192, count_include_pad),
    }
    return Parallel(branches, Concat())


def _wide_and_tall() -> Parallel:
    branches: dict[str, Layer] = {
        "wide": Sequential(**_conv("conv", 384, (1, 3), padding=(0, 1))),
        "tall": Sequential(**_conv("conv", 384, (3, 1), padding=(1, 0))),
    }
    return Parallel(branches, Concat())


def _pool_branch(filters: int, count_include_pad: bool) -> Sequential:
    pool = AvgPool2d(3, 1, padding=1, count_include_pad=count_include_pad)
    return Sequential(pool=pool, **_conv("conv", filters, 1))


def _auxiliary(classes: int) -> Sequential:
    return Sequential(
        pool1=AvgPool2d(5, 3),
        **_conv("conv1", 128, 1),
        **_conv("conv2", 768, 5),
        pool2=AdaptiveAvgPool2d(1),
        flatten=Flatten(),
        scores=Dense(classes, init_weight=LOGITS_INITIALIZER),
    )


def _conv_sequence(*convolutions: Conv) -> Sequential:
    layers: dict[str, Layer] = {}
    for index, convolution in enumerate(convolutions, start=1):
        layers |= _conv(f"conv{index}", *convolution)
    return Sequential(**layers)


def _conv(
    name: str, filters: int, kernel: int | tuple[int, int], stride: int = 1, padding: int | tuple[int, int] = 0
) -> dict[str, Layer]:
    return conv_norm_relu(name, filters, kernel, stride, padding, EPSILON)
