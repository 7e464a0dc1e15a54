"""Networks by family: functions that return a network, whose parameters `net.init` draws."""

from collections.abc import Callable

from pellucid.layers.base import Layer
from pellucid.models.airbench import airbench, airbench96
from pellucid.models.alexnet import alexnet, alexnet_small, zfnet
from pellucid.models.convnet import convnet
from pellucid.models.convnext import convnext_tiny
from pellucid.models.densenet import densenet121
from pellucid.models.efficientnet import efficientnet_b0
from pellucid.models.fcn import fcn8, fcn16, fcn32
from pellucid.models.googlenet import googlenet
from pellucid.models.inception import inception_v3
from pellucid.models.keypoints import coordinates, heat_maps
from pellucid.models.lenet import lenet
from pellucid.models.mlp import mlp
from pellucid.models.mobilenet import mobilenet_v2
from pellucid.models.pix2pix import patch_discriminator, unet_generator
from pellucid.models.resnet import resnet18, resnet20, resnet32, resnet34, resnet50, resnet56, resnet101, resnet152
from pellucid.models.resnet_generator import resnet_generator
from pellucid.models.squeezenet import squeezenet1_1
from pellucid.models.structure import features, head, match, replace_head
from pellucid.models.swin import swin
from pellucid.models.transfer import regressor, transfer
from pellucid.models.unet import unet
from pellucid.models.vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn, vgg_small
from pellucid.models.vit import vit

# The networks by the names that `network.model` in recipes and the command line accept.
MODELS: dict[str, Callable[..., Layer]] = {
    net.__name__: net
    for net in (
        mlp, lenet, convnet, airbench, airbench96, alexnet, alexnet_small, zfnet,
        vgg11, vgg13, vgg16, vgg19, vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn, vgg_small, googlenet, inception_v3,
        resnet18, resnet34, resnet50, resnet101, resnet152, resnet20, resnet32, resnet56,
        densenet121, mobilenet_v2, squeezenet1_1, efficientnet_b0, convnext_tiny, vit, swin, fcn32, fcn16, fcn8, unet,
        unet_generator, resnet_generator, patch_discriminator, heat_maps, coordinates, transfer, regressor,
    )
}  # fmt: skip

__all__ = [
    "MODELS",
    "airbench",
    "airbench96",
    "alexnet",
    "alexnet_small",
    "convnet",
    "convnext_tiny",
    "coordinates",
    "densenet121",
    "efficientnet_b0",
    "fcn8",
    "fcn16",
    "fcn32",
    "features",
    "googlenet",
    "head",
    "heat_maps",
    "inception_v3",
    "lenet",
    "match",
    "mlp",
    "mobilenet_v2",
    "patch_discriminator",
    "regressor",
    "replace_head",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet152",
    "resnet_generator",
    "squeezenet1_1",
    "swin",
    "transfer",
    "unet",
    "unet_generator",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "vgg_small",
    "zfnet",
]
