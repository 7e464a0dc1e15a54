"""Networks of the library transformers with random weights, for `pellucid.open`."""

from collections.abc import Callable

import torch
import transformers
from torch import Tensor, nn


class Logits(nn.Module):
    """A classifier of transformers that returns only its logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).logits


def _resnet18() -> nn.Module:
    config = transformers.ResNetConfig(
        depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic", num_labels=1000
    )
    return transformers.ResNetForImageClassification(config)


def _convnext_tiny() -> nn.Module:
    return transformers.ConvNextForImageClassification(transformers.ConvNextConfig(num_labels=1000))


def _efficientnet_b0() -> nn.Module:
    config = transformers.EfficientNetConfig(
        width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280, image_size=224, num_labels=1000
    )
    return transformers.EfficientNetForImageClassification(config)


def _vit_b16() -> nn.Module:
    return transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=1000))


DEFINITIONS: dict[str, Callable[[], nn.Module]] = {
    "opened-resnet18": _resnet18,
    "opened-convnext_tiny": _convnext_tiny,
    "opened-efficientnet_b0": _efficientnet_b0,
    "opened-vit_b16": _vit_b16,
}


def definition(name: str) -> nn.Module:
    """Return the network of a job whose name begins with "opened-"."""
    torch.manual_seed(0)
    net = Logits(DEFINITIONS[name]())
    # With the weights and statistics of a new network, deep values and gradients become denormal, which is slow.
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    with torch.no_grad():
        net.train()(torch.rand(2, 3, 224, 224))
    return net
