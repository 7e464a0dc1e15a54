"""The networks of the zoo with their published figures, and small variants of them for tests."""

import dataclasses
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from pellucid.combine import Sequential
from pellucid.combine.base import Combinator
from pellucid.layers import Conv2d, Dense, Layer, PadChannels
from pellucid.models import MODELS


class PublishedNetwork(NamedTuple):
    """A network, the side of its published input images, and its published figures.

    `billions` are the multiply-adds in torchvision's documentation of the weights (there called GFLOPS), to three
    decimals, or None.
    """

    name: str
    options: Mapping[str, Any]
    side: int
    parameters: int
    maps: tuple[int, int, int]
    billions: float | None

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.options.items())])

    def build(self, **options: Any) -> Layer:
        return MODELS[self.name](**{**self.options, **options})


NO_OPTIONS: dict[str, Any] = {}
ZOO = (
    PublishedNetwork("alexnet", NO_OPTIONS, 224, 61_100_840, (256, 6, 6), 0.714),
    PublishedNetwork("alexnet", {"original": True}, 227, 60_965_224, (256, 6, 6), 0.724),  # Sze et al. 2017, table II
    PublishedNetwork("alexnet_small", NO_OPTIONS, 32, 635_906, (96, 3, 3), None),  # by hand
    PublishedNetwork("zfnet", NO_OPTIONS, 224, 62_357_608, (256, 6, 6), None),
    PublishedNetwork("vgg11", NO_OPTIONS, 224, 132_863_336, (512, 7, 7), 7.609),
    PublishedNetwork("vgg13", NO_OPTIONS, 224, 133_047_848, (512, 7, 7), 11.308),
    PublishedNetwork("vgg16", NO_OPTIONS, 224, 138_357_544, (512, 7, 7), 15.470),
    PublishedNetwork("vgg19", NO_OPTIONS, 224, 143_667_240, (512, 7, 7), 19.632),
    PublishedNetwork("vgg11_bn", NO_OPTIONS, 224, 132_868_840, (512, 7, 7), 7.609),
    PublishedNetwork("vgg13_bn", NO_OPTIONS, 224, 133_053_736, (512, 7, 7), 11.308),
    PublishedNetwork("vgg16_bn", NO_OPTIONS, 224, 138_365_992, (512, 7, 7), 15.470),
    PublishedNetwork("vgg19_bn", NO_OPTIONS, 224, 143_678_248, (512, 7, 7), 19.632),
    PublishedNetwork("vgg_small", NO_OPTIONS, 32, 879_914, (128, 4, 4), None),  # by hand
    PublishedNetwork("googlenet", NO_OPTIONS, 224, 6_624_904, (1024, 7, 7), 1.498),
    PublishedNetwork("googlenet", {"original": True}, 224, 6_998_552, (1024, 7, 7), None),
    PublishedNetwork("inception_v3", NO_OPTIONS, 299, 27_161_264 - 3_326_696, (2048, 8, 8), 5.713),
    PublishedNetwork("resnet18", NO_OPTIONS, 224, 11_689_512, (512, 7, 7), 1.814),
    PublishedNetwork("resnet34", NO_OPTIONS, 224, 21_797_672, (512, 7, 7), 3.664),
    PublishedNetwork("resnet50", NO_OPTIONS, 224, 25_557_032, (2048, 7, 7), 4.089),
    PublishedNetwork("resnet101", NO_OPTIONS, 224, 44_549_160, (2048, 7, 7), 7.801),
    PublishedNetwork("resnet152", NO_OPTIONS, 224, 60_192_808, (2048, 7, 7), 11.514),
    PublishedNetwork("resnet20", NO_OPTIONS, 32, 269_722, (64, 8, 8), None),
    PublishedNetwork("resnet32", NO_OPTIONS, 32, 464_154, (64, 8, 8), None),
    PublishedNetwork("resnet56", NO_OPTIONS, 32, 853_018, (64, 8, 8), None),
    PublishedNetwork("airbench", NO_OPTIONS, 32, 1_972_802, (256, 3, 3), None),  # by hand
    PublishedNetwork("airbench96", NO_OPTIONS, 32, 2_194_562, (256, 3, 3), None),  # by hand
    PublishedNetwork("densenet121", NO_OPTIONS, 224, 7_978_856, (1024, 7, 7), 2.834),
    PublishedNetwork("mobilenet_v2", NO_OPTIONS, 224, 3_504_872, (1280, 7, 7), 0.301),
    PublishedNetwork("squeezenet1_1", NO_OPTIONS, 224, 1_235_496, (512, 13, 13), 0.349),
    PublishedNetwork("efficientnet_b0", NO_OPTIONS, 224, 5_288_548, (1280, 7, 7), 0.386),
)
SEGMENTATION_NETWORKS = {"fcn8", "fcn16", "fcn32", "unet"}  # they output a class for each pixel; see test_dense
# They output images or scores of patches; see test_pix2pix.
IMAGE_NETWORKS = {"unet_generator", "resnet_generator", "patch_discriminator"}
KEYPOINT_NETWORKS = ("heat_maps", "coordinates")  # see test_keypoints
# Variants of these networks for other weights, without published figures of their own.
VARIANTS = (
    ("googlenet", {"auxiliary": True}, 96),
    ("inception_v3", {"auxiliary": True, "count_include_pad": False}, 299),
    ("resnet50", {"epsilon": 1.001e-5, "stride_first": True}, 64),
    ("mobilenet_v2", {"epsilon": 1e-3, "pad": "same", "width": 0.5}, 64),
)


def init_on_meta(net: Layer, shape: Any) -> tuple[dict[str, Any], Any]:
    """Return the parameters as tensors on "meta", which have no values, and the output shape."""
    with torch.device("meta"):
        return net.init(shape, torch.Generator())


def thin_network(layer: Layer, divisor: int, repeats: bool = True) -> Layer:
    """Return a network with 1 / `divisor` of the filters and units, at least four; 1000 outputs become 5.

    Without `repeats`, a layer of a Sequential that equals the previous layer is omitted.
    """
    if isinstance(layer, Sequential):
        names = list(layer.children)
        repeated = {name for previous, name in pairwise(names) if layer.children[name] == layer.children[previous]}
        selected = [name for name in names if repeats or name not in repeated]
        return Sequential(**{name: thin_network(layer.children[name], divisor, repeats) for name in selected})
    if isinstance(layer, Combinator):
        return layer.rebuild({name: thin_network(child, divisor, repeats) for name, child in layer.layers.items()})
    match layer:
        case Conv2d():
            filters = _divide_count(layer.filters, divisor)
            groups = filters if layer.groups == layer.filters else layer.groups
            return dataclasses.replace(layer, filters=filters, groups=groups)
        case Dense():
            return dataclasses.replace(layer, units=_divide_count(layer.units, divisor))
        case PadChannels():
            return PadChannels(layer.before // divisor, layer.after // divisor)
        case _:
            return layer


def _divide_count(count: int, divisor: int) -> int:
    if divisor == 1:
        return count
    return 5 if count == 1000 else max(4, count // divisor // 2 * 2)  # even, for convolutions in two groups
