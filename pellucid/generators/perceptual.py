"""The perceptual loss: the distance of images in the features of a trained network."""

import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.generators.base import input_gradient
from pellucid.layers import BatchNorm
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import L1
from pellucid.models.pyramid import Pyramid, pyramid
from pellucid.nested import leaves


def feature_network(backbone: Pyramid) -> Layer:
    """Return a network that maps RGB images, 0 to 1, to the feature maps of a `pyramid`.

    Its first layer scales the images as in the training of the backbone. `copy_trained_weights` sets its parameters.
    """
    return Sequential(scale=BatchNorm(epsilon=0.0), maps=pyramid(backbone))


def copy_trained_weights(params: Params, trained_maps: Params, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Copy trained weights into the parameters of `feature_network`.

    trained_maps: the trained parameters of the pyramid. mean, std: the mean and standard deviation of each channel by
    which the training images were scaled; () if they were not.
    """
    if mean:
        params["scale"]["running_mean"].copy_(torch.tensor(mean))
        params["scale"]["running_var"].copy_(torch.tensor(std).square())
    for param, trained_param in zip(leaves(params["maps"]), leaves(trained_maps), strict=True):
        param.copy_(trained_param)


def perceptual_distance(net: Layer, params: Params, generated: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance of images (N, 3, H, W), -1 to 1, and its gradient with respect to `generated`.

    net, params: a frozen `feature_network`. The distance is the mean absolute difference of the feature maps of
    `generated` and `real`, averaged over the maps.
    Source: Johnson, Alahi and Fei-Fei 2016, equation 2, with absolute instead of squared differences.
    """
    real_maps, _ = net.forward(params, (real + 1) / 2, Mode(keep=False))
    generated_maps, cache = net.forward(params, (generated + 1) / 2, Mode())
    losses = [L1("mean")(y, target) for y, target in zip(generated_maps, real_maps, strict=True)]
    dmaps = tuple(dy / len(losses) for _, dy in losses)
    value = torch.stack([distance for distance, _ in losses]).mean()
    return value, input_gradient(net, params, cache, dmaps) / 2


def perceptual_value(net: Layer, params: Params, generated: Tensor, real: Tensor) -> Tensor:
    """Return the value of `perceptual_distance`, without its gradient."""
    generated_maps, real_maps = (
        net.forward(params, (images + 1) / 2, Mode(keep=False))[0] for images in (generated, real)
    )
    return torch.stack([L1("mean")(y, target)[0] for y, target in zip(generated_maps, real_maps, strict=True)]).mean()
