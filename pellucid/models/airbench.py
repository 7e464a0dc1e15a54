"""A small network that learns small pictures fast."""

from pellucid.combine import Sequential
from pellucid.layers import GELU, AdaptiveAvgPool2d, BatchNorm, Conv2d, Dense, Flatten, MaxPool2d
from pellucid.layers.base import Layer
from pellucid.models.parts import LOGITS, network


def airbench(classes: int = 10, width: int = 64) -> Sequential:
    """Return seven 3 x 3 convolutions, three of them pooled before they are normalized; it ends in logits.

    width: the filters of the first of three stages, of which the others have four times as many. For images of at
    least 8 x 8; with three channels, 10 classes and width 64 it has 1,978,026 parameters.
    Source: the stages of Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds", section 3.1, behind a learned convolution in
    place of a whitening one, and with the mean in place of the maximum at the end.
    """
    features: dict[str, Layer] = {
        "stem": Sequential(conv=Conv2d(32, 3, padding=1, bias=False), norm=BatchNorm(), act=GELU()),
        "stage1": _stage(width),
        "stage2": _stage(4 * width),
        "stage3": _stage(4 * width),
    }
    head: dict[str, Layer] = {
        "pool": AdaptiveAvgPool2d(1), "flatten": Flatten(), "scores": Dense(classes, init_weight=LOGITS),
    }  # fmt: skip
    return network(features, head)


def _stage(filters: int) -> Sequential:
    return Sequential(
        conv1=Conv2d(filters, 3, padding=1, bias=False),
        pool=MaxPool2d(2),
        norm1=BatchNorm(),
        act1=GELU(),
        conv2=Conv2d(filters, 3, padding=1, bias=False),
        norm2=BatchNorm(),
        act2=GELU(),
    )
