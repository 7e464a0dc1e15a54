"""A small network that learns small pictures fast."""

from pellucid.combine import Sequential
from pellucid.layers import GELU, AdaptiveAvgPool2d, BatchNorm, Conv2d, Dense, Flatten, MaxPool2d
from pellucid.layers.base import Layer
from pellucid.models.parts import LOGITS, network

STEM = 24  # filters: both signs of every direction that a patch of 3 x 2 x 2 values can have


def airbench(classes: int = 10, width: int = 64) -> Sequential:
    """Return a 2 x 2 convolution, made to be whitened, and six of 3 x 3 in three pooled stages; it ends in logits.

    width: the filters of the first stage, of which the others have four times as many. The 3 x 3 convolutions begin
    by handing on their input. For images of at least 9 x 9; with three channels, 10 classes and width 64 it has
    1,972,802 parameters.
    Source: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds", section 3.1, with the mean in place of the maximum over
    the last maps, so that larger images fit too.
    """
    features: dict[str, Layer] = {
        "stem": Sequential(conv=Conv2d(STEM, 2), act=GELU()),
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
        conv1=Conv2d(filters, 3, padding=1, bias=False, init_weight="dirac"),
        pool=MaxPool2d(2),
        norm1=BatchNorm(),
        act1=GELU(),
        conv2=Conv2d(filters, 3, padding=1, bias=False, init_weight="dirac"),
        norm2=BatchNorm(),
        act2=GELU(),
    )
