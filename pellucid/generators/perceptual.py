"""The perceptual loss: how far images are apart in the features of a trained network."""

import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.generators.base import to_input
from pellucid.layers import BatchNorm
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import L1
from pellucid.models.pyramid import Pyramid, pyramid
from pellucid.tree import leaves


def trained_maps(backbone: Pyramid) -> Layer:
    """Return a network from RGB images, 0 to 1, to the maps of a `pyramid`, which `start_maps` gives trained weights.

    Its first layer scales the images as those that the backbone was trained on.
    """
    return Sequential(scale=BatchNorm(epsilon=0.0), maps=pyramid(backbone))


def start_maps(params: Params, maps: Params, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Write trained weights into those of `trained_maps`: of the pyramid, and how its images were scaled."""
    if mean:
        params["scale"]["running_mean"].copy_(torch.tensor(mean))
        params["scale"]["running_var"].copy_(torch.tensor(std).square())
    for own, trained in zip(leaves(params["maps"]), leaves(maps), strict=True):
        own.copy_(trained)


def perceptual_distance(net: Layer, params: Params, made: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance of images (N, 3, H, W), -1 to 1, from real ones, and its gradient with respect to them.

    It is the mean over the maps of `trained_maps` of their mean absolute difference; the network does not learn.
    Source: Johnson, Alahi and Fei-Fei 2016, equation 2, with absolute in place of squared differences.
    """
    wanted, _ = net.forward(params, (real + 1) / 2, Mode(keep=False))
    found, cache = net.forward(params, (made + 1) / 2, Mode())
    compared = [L1("mean")(y, target) for y, target in zip(found, wanted, strict=True)]
    dmaps = tuple(dy / len(compared) for _, dy in compared)
    value = torch.stack([one for one, _ in compared]).mean()
    return value, to_input(net, params, cache, dmaps) / 2


def perceptual_value(net: Layer, params: Params, made: Tensor, real: Tensor) -> Tensor:
    """Return that distance alone, without a backward pass."""
    found, wanted = (net.forward(params, (one + 1) / 2, Mode(keep=False))[0] for one in (made, real))
    return torch.stack([L1("mean")(y, target)[0] for y, target in zip(found, wanted, strict=True)]).mean()
