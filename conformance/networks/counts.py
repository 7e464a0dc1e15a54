"""The number of parameters of our networks compared with the numbers in torchvision's documentation."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from conformance.case import Case, Mismatch
from pellucid.models import MODELS
from pellucid.network.summary import summary

# `num_params` of the weights for ImageNet, and the options of our network. GoogLeNet's number excludes its auxiliary
# heads; Inception-v3's includes its auxiliary head.
PUBLISHED_COUNTS: dict[str, tuple[int, dict[str, Any]]] = {
    "alexnet": (61_100_840, {}),
    "vgg11": (132_863_336, {}),
    "vgg13": (133_047_848, {}),
    "vgg16": (138_357_544, {}),
    "vgg19": (143_667_240, {}),
    "vgg11_bn": (132_868_840, {}),
    "vgg13_bn": (133_053_736, {}),
    "vgg16_bn": (138_365_992, {}),
    "vgg19_bn": (143_678_248, {}),
    "googlenet": (6_624_904, {}),
    "inception_v3": (27_161_264, {"auxiliary": True}),
    "resnet18": (11_689_512, {}),
    "resnet34": (21_797_672, {}),
    "resnet50": (25_557_032, {}),
    "resnet101": (44_549_160, {}),
    "resnet152": (60_192_808, {}),
    "densenet121": (7_978_856, {}),
    "mobilenet_v2": (3_504_872, {}),
    "squeezenet1_1": (1_235_496, {}),
    "efficientnet_b0": (5_288_548, {}),
    "convnext_tiny": (28_589_128, {}),
    "vit": (86_567_656, {}),
    "swin": (28_288_354, {}),
}


def cases() -> Iterator[Case]:
    """Yield a case for each network, in a suite (a row of the scorecard) of its own."""
    for name, (published, options) in PUBLISHED_COUNTS.items():
        check = partial(_check, name, published, options)
        suite = f"torchvision documentation {name} of {published:,} parameters"
        yield Case(suite, "-", name, MODELS[name], check, 0.0)


def _check(name: str, published: int, options: dict[str, Any]) -> float:
    """Return 0; raise Mismatch if the number of parameters is not the published one."""
    net, side = MODELS[name](**options), 299 if name == "inception_v3" else 224
    with torch.device("meta"):  # shapes only
        params, _ = net.init((3, side, side), torch.Generator())
    n_parameters = summary(net, params, (3, side, side)).parameters
    if n_parameters != published:
        raise Mismatch(f"{name} has {n_parameters:,} parameters, not {published:,}")
    return 0.0
