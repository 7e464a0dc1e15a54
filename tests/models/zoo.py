"""The networks of the zoo with what is published about them, and small forms of them."""

import dataclasses
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from pellucid.combine import Sequential
from pellucid.combine.base import Combinator
from pellucid.layers import Conv2d, Dense, Layer, PadChannels
from pellucid.models import MODELS


class Published(NamedTuple):
    """A network, the side of the images it was published for, and its figures for them.

    `billions` are multiply-adds to three decimals, those that torchvision's documentation gives for its weights (it
    calls them GFLOPS); None where it has none.
    """

    name: str
    options: Mapping[str, Any]
    side: int
    parameters: int
    maps: tuple[int, int, int]
    billions: float | None

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.options.items())])

    def build(self, **more: Any) -> Layer:
        return MODELS[self.name](**{**self.options, **more})


PLAIN: dict[str, Any] = {}
ZOO = (
    Published("alexnet", PLAIN, 224, 61_100_840, (256, 6, 6), 0.714),
    Published("alexnet", {"original": True}, 227, 60_965_224, (256, 6, 6), 0.724),  # Sze et al. 2017, table II
    Published("alexnet_small", PLAIN, 32, 635_906, (96, 3, 3), None),  # by hand
    Published("zfnet", PLAIN, 224, 62_357_608, (256, 6, 6), None),
    Published("vgg11", PLAIN, 224, 132_863_336, (512, 7, 7), 7.609),
    Published("vgg13", PLAIN, 224, 133_047_848, (512, 7, 7), 11.308),
    Published("vgg16", PLAIN, 224, 138_357_544, (512, 7, 7), 15.470),
    Published("vgg19", PLAIN, 224, 143_667_240, (512, 7, 7), 19.632),
    Published("vgg11_bn", PLAIN, 224, 132_868_840, (512, 7, 7), 7.609),
    Published("vgg13_bn", PLAIN, 224, 133_053_736, (512, 7, 7), 11.308),
    Published("vgg16_bn", PLAIN, 224, 138_365_992, (512, 7, 7), 15.470),
    Published("vgg19_bn", PLAIN, 224, 143_678_248, (512, 7, 7), 19.632),
    Published("vgg_small", PLAIN, 32, 879_914, (128, 4, 4), None),  # by hand
    Published("googlenet", PLAIN, 224, 6_624_904, (1024, 7, 7), 1.498),
    Published("googlenet", {"original": True}, 224, 6_998_552, (1024, 7, 7), None),
    Published("inception_v3", PLAIN, 299, 27_161_264 - 3_326_696, (2048, 8, 8), 5.713),
    Published("resnet18", PLAIN, 224, 11_689_512, (512, 7, 7), 1.814),
    Published("resnet34", PLAIN, 224, 21_797_672, (512, 7, 7), 3.664),
    Published("resnet50", PLAIN, 224, 25_557_032, (2048, 7, 7), 4.089),
    Published("resnet101", PLAIN, 224, 44_549_160, (2048, 7, 7), 7.801),
    Published("resnet152", PLAIN, 224, 60_192_808, (2048, 7, 7), 11.514),
    Published("resnet20", PLAIN, 32, 269_722, (64, 8, 8), None),
    Published("resnet32", PLAIN, 32, 464_154, (64, 8, 8), None),
    Published("resnet56", PLAIN, 32, 853_018, (64, 8, 8), None),
    Published("airbench", PLAIN, 32, 1_972_802, (256, 3, 3), None),  # by hand
    Published("airbench96", PLAIN, 32, 2_194_562, (256, 3, 3), None),  # by hand
    Published("densenet121", PLAIN, 224, 7_978_856, (1024, 7, 7), 2.834),
    Published("mobilenet_v2", PLAIN, 224, 3_504_872, (1280, 7, 7), 0.301),
    Published("squeezenet1_1", PLAIN, 224, 1_235_496, (512, 13, 13), 0.349),
    Published("efficientnet_b0", PLAIN, 224, 5_288_548, (1280, 7, 7), 0.386),
)
DENSE = {"fcn8", "fcn16", "fcn32", "unet"}  # which put out a class for each pixel: in test_dense
IMAGES = {"unet_generator", "resnet_generator", "patch_discriminator"}  # of images and of patches: in test_pix2pix
POINTS = ("heat_maps", "coordinates")  # in test_keypoints
# The same networks as other weights need them: nothing is published that the rows above do not hold.
VARIANTS = (
    ("googlenet", {"auxiliary": True}, 96),
    ("inception_v3", {"auxiliary": True, "count_include_pad": False}, 299),
    ("resnet50", {"epsilon": 1.001e-5, "stride_first": True}, 64),
    ("mobilenet_v2", {"epsilon": 1e-3, "pad": "same", "width": 0.5}, 64),
)


def meta(net: Layer, shape: Any) -> tuple[dict[str, Any], Any]:
    """Return the parameters as shapes without values, and the output's shape."""
    with torch.device("meta"):
        return net.init(shape, torch.Generator())


def thin(layer: Layer, by: int, repeats: bool = True) -> Layer:
    """Return a network with one of `by` filters and units, at least four; what puts out 1000 classes has 5.

    Without `repeats`, a layer of a Sequential that equals the one before it is left out.
    """
    if isinstance(layer, Sequential):
        names = list(layer.children)
        equal = {name for before, name in pairwise(names) if layer.children[name] == layer.children[before]}
        kept = [name for name in names if repeats or name not in equal]
        return Sequential(**{name: thin(layer.children[name], by, repeats) for name in kept})
    if isinstance(layer, Combinator):
        return layer.rebuild({name: thin(child, by, repeats) for name, child in layer.layers.items()})
    match layer:
        case Conv2d():
            filters = _fewer(layer.filters, by)
            groups = filters if layer.groups == layer.filters else layer.groups
            return dataclasses.replace(layer, filters=filters, groups=groups)
        case Dense():
            return dataclasses.replace(layer, units=_fewer(layer.units, by))
        case PadChannels():
            return PadChannels(layer.before // by, layer.after // by)
        case _:
            return layer


def _fewer(number: int, by: int) -> int:
    if by == 1:
        return number
    return 5 if number == 1000 else max(4, number // by // 2 * 2)  # even, for two groups
