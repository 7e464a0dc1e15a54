"""Small networks that train fast on small images."""

from pellucid.combine import Parallel, Sequential
from pellucid.layers import GELU, AdaptiveAvgPool2d, Add, BatchNorm, Conv2d, Dense, Flatten, Identity, MaxPool2d
from pellucid.layers.base import Layer
from pellucid.models.parts import LOGITS, network

STEM = 24  # filters: both signs of every direction that a patch of 3 x 2 x 2 values can have


def airbench(classes: int = 10, width: int = 64) -> Sequential:
    """Return a 2 x 2 convolution, made to be whitened, and six of 3 x 3 in three pooled stages; it outputs logits.

    width: the filters of the first stage, of which the others have four times as many. The 3 x 3 convolutions begin
    by handing on their input. For images of at least 9 x 9; with three channels, 10 classes and width 64 it has
    1,972,802 parameters.
    Source: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds", section 3.1, with the mean in place of the maximum over
    the last maps, so that larger images fit too.
    """
    return _network(classes, [_stage(filters) for filters in (width, 4 * width, 4 * width)])


def airbench96(classes: int = 10, width: int = 64) -> Sequential:
    """Return airbench with three 3 x 3 convolutions a stage, and a shortcut past the last two; it outputs logits.

    width: the filters of the first stage, of which the second has 5/2 and the third 4 times as many. For images of at
    least 9 x 9; with three channels, 10 classes and width 64 it has 2,194,562 parameters.
    Source: Jordan 2024, section 4, whose network for 96 % is wider (128, 384 and 512 filters).
    """
    return _network(classes, [_residual_stage(filters) for filters in (width, 5 * width // 2, 4 * width)])


def _network(classes: int, stages: list[Sequential]) -> Sequential:
    features: dict[str, Layer] = {"stem": Sequential(conv=Conv2d(STEM, 2), act=GELU())}
    features |= {f"stage{number}": stage for number, stage in enumerate(stages, start=1)}
    head: dict[str, Layer] = {
        "pool": AdaptiveAvgPool2d(1), "flatten": Flatten(), "scores": Dense(classes, init_weight=LOGITS),
    }  # fmt: skip
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
        residual=Parallel({"shortcut": Identity(), "body": body}, Add()),
        act3=GELU(),
    )


def _conv(filters: int) -> Conv2d:
    return Conv2d(filters, 3, padding=1, bias=False, init_weight="dirac")
