"""The networks of the benchmark, built from Pellucid's layers."""

from pellucid.combine import Parallel, Sequential
from pellucid.combine.base import map_layers
from pellucid.layers import (
    AdaptiveAvgPool2d,
    Add,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Identity,
    MaxPool2d,
    ReLU,
    Sigmoid,
)
from pellucid.layers.base import Layer
from pellucid.models import fcn8 as zoo_fcn8
from pellucid.models import mobilenet_v2 as zoo_mobilenet_v2


def mlp() -> Layer:
    """Return a 784-30-10 network with sigmoids, as in Nielsen 2015, chapter 1."""
    return Sequential(
        hidden=Dense(30, init_weight="scaled"),
        act1=Sigmoid(),
        out=Dense(10, init_weight="scaled"),
        act2=Sigmoid(),
    )


def _block(channels: int, stride: int, same_shape: bool) -> Layer:
    body = Sequential(
        conv1=Conv2d(channels, 3, stride=stride, padding=1, bias=False),
        norm1=BatchNorm(),
        act1=ReLU(),
        conv2=Conv2d(channels, 3, stride=1, padding=1, bias=False),
        norm2=BatchNorm(),
    )
    skip = (
        Identity() if same_shape else Sequential(conv=Conv2d(channels, 1, stride=stride, bias=False), norm=BatchNorm())
    )
    return Sequential(sum=Parallel({"skip": skip, "body": body}, Add()), act=ReLU())


def resnet20(width: int, blocks_per_stage: int = 3, classes: int = 10) -> Layer:
    """Return ResNet-20 for 32x32 images (He et al. 2016, section 4.2), with projections where the shape changes.

    With another number of blocks per stage, n, it is the paper's network with 6 n + 2 layers.
    """
    blocks: dict[str, Layer] = {}
    for stage in range(3):
        for index in range(blocks_per_stage):
            halves_size = index == 0 and stage > 0
            blocks[f"block{stage + 1}_{index + 1}"] = _block(width * 2**stage, 2 if halves_size else 1, not halves_size)
    return Sequential(
        conv=Conv2d(width, 3, stride=1, padding=1, bias=False),
        norm=BatchNorm(),
        act=ReLU(),
        **blocks,
        pool=AdaptiveAvgPool2d(1),
        flatten=Flatten(),
        dense=Dense(classes),
    )


VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg16(classes: int = 1000) -> Layer:
    """Return VGG16 (Simonyan and Zisserman 2015, column D) without dropout, for equal work of all peers."""
    layers: dict[str, Layer] = {}
    for stage, widths in enumerate(VGG16, start=1):
        for index, width in enumerate(widths, start=1):
            layers[f"conv{stage}_{index}"] = Conv2d(width, 3, padding=1)
            layers[f"act{stage}_{index}"] = ReLU()
        layers[f"pool{stage}"] = MaxPool2d(2)
    return Sequential(
        **layers,
        flatten=Flatten(),
        dense1=Dense(4096),
        act1=ReLU(),
        dense2=Dense(4096),
        act2=ReLU(),
        dense3=Dense(classes),
    )


def mobilenet_v2(classes: int = 1000) -> Layer:
    """Return the MobileNetV2 of `pellucid.models` without dropout, for equal work of all peers."""
    net = zoo_mobilenet_v2(classes)
    head = net.children["head"]
    assert isinstance(head, Sequential)
    head_layers = {name: layer for name, layer in head.children.items() if name != "dropout"}
    return net.rebuild({**net.children, "head": Sequential(**head_layers)})


def fcn8() -> Layer:
    """Return the FCN-8s of `pellucid.models` without dropout, for equal work of all peers."""
    return map_layers(zoo_fcn8(11), lambda layer: Identity() if isinstance(layer, Dropout) else layer)
