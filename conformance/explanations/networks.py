"""Three small networks, each as a PyTorch module and as a Pellucid network, with equal random weights in float64."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.combine import Parallel, Sequential
from pellucid.layers import (
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Identity,
    Layer,
    MaxPool2d,
    ReLU,
    ReLU6,
)
from pellucid.layers.base import Params
from pellucid.nested import map_tree, nest

SHAPE, CLASSES = (3, 16, 16), 5
EPSILON = 1e-12  # of batch normalization; tiny, because Zennit divides by sqrt(1 + epsilon) even after merging it
MakeSum = Callable[[], nn.Module]  # makes the module that adds two tensors, which differs between Captum and Zennit


class Residual(nn.Module):
    """Two branches and their sum, with the names of the branches of our Parallel.

    A `shortcut` of None is the input itself: a module that returns its input would break Captum's hooks.
    """

    def __init__(self, shortcut: nn.Module | None, body: nn.Module, merge: nn.Module) -> None:
        super().__init__()
        self.shortcut, self.body, self.merge = shortcut, body, merge

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.merge(x if self.shortcut is None else self.shortcut(x), self.body(x))


@dataclass(frozen=True)
class Family:
    """One architecture twice: `net` is our network, `make_module` makes the PyTorch module."""

    name: str
    net: Layer
    make_module: Callable[[MakeSum], nn.Module]

    def __str__(self) -> str:
        """Return the name."""
        return self.name


@dataclass(frozen=True, eq=False)
class Pair:
    """Both networks with the same weights, images `x` with values in [0, 1], and a class `target` for each image."""

    family: Family
    params: Params
    module: nn.Module
    x: Tensor
    target: Tensor

    @property
    def net(self) -> Layer:
        """Our network."""
        return self.family.net

    def as_float32(self) -> "Pair":
        """Return the pair in float32."""
        return replace(self, params=map_tree(Tensor.float, self.params), module=self.module.float(), x=self.x.float())


def draw_pair(family: Family, add: MakeSum, seed: int = 0, examples: int = 3) -> Pair:
    """Return a Pair whose weights, running statistics, images and classes are drawn from `seed`."""
    rng = torch.Generator().manual_seed(seed)
    module = family.make_module(add).double().train(False)
    state = {name: _random_value(name, value, rng) for name, value in module.state_dict().items()}
    module.load_state_dict(state)
    params = nest(family.net.init(SHAPE, rng)[0], {name: value.clone() for name, value in state.items()})
    x = torch.rand((examples, *SHAPE), generator=rng, dtype=torch.float64)
    return Pair(family, params, module, x, torch.randint(0, CLASSES, (examples,), generator=rng))


def _random_value(name: str, value: Tensor, rng: torch.Generator) -> Tensor:
    """Return random values like those of a trained network, without dead units and with nontrivial statistics."""
    if not value.is_floating_point():
        return value
    noise = torch.randn(value.shape, generator=rng, dtype=value.dtype)
    if name.endswith("running_var") or (name.endswith("weight") and value.dim() == 1):
        return 0.5 + noise.abs()
    scale = (2 / max(1, value[0].numel())) ** 0.5 if value.dim() > 1 else 0.1
    return scale * noise


def _vgg(add: MakeSum) -> nn.Module:
    return torch_sequential(
        conv1=nn.Conv2d(3, 6, 3, padding=1),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(6, 6, 3, padding=1),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        conv3=nn.Conv2d(6, 8, 3, padding=1),
        relu3=nn.ReLU(),
        pool3=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        dense1=nn.Linear(128, 12),
        relu4=nn.ReLU(),
        dropout=nn.Dropout(0.5),
        scores=nn.Linear(12, CLASSES),
    )


VGG = Family(
    "VGG-like",
    Sequential(
        conv1=Conv2d(6, 3, padding=1),
        relu1=ReLU(),
        conv2=Conv2d(6, 3, padding=1),
        relu2=ReLU(),
        pool2=MaxPool2d(2),
        conv3=Conv2d(8, 3, padding=1),
        relu3=ReLU(),
        pool3=MaxPool2d(2),
        flatten=Flatten(),
        dense1=Dense(12),
        relu4=ReLU(),
        dropout=Dropout(0.5),
        scores=Dense(CLASSES),
    ),
    _vgg,
)


def _resnet(add: MakeSum) -> nn.Module:
    def body(inputs: int, outputs: int, stride: int) -> nn.Module:
        return torch_sequential(
            conv1=nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            norm1=nn.BatchNorm2d(outputs, EPSILON),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            norm2=nn.BatchNorm2d(outputs, EPSILON),
        )

    shortcut = torch_sequential(conv=nn.Conv2d(6, 8, 1, 2, bias=False), norm=nn.BatchNorm2d(8, EPSILON))
    return torch_sequential(
        conv=nn.Conv2d(3, 6, 3, padding=1, bias=False),
        norm=nn.BatchNorm2d(6, EPSILON),
        relu=nn.ReLU(),
        pool=nn.MaxPool2d(3, 2, 1),
        block1=Residual(None, body(6, 6, 1), add()),
        relu1=nn.ReLU(),
        block2=Residual(shortcut, body(6, 8, 2), add()),
        relu2=nn.ReLU(),
        mean=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        scores=nn.Linear(8, CLASSES),
    )


def _residual_body(outputs: int, stride: int) -> Layer:
    return Sequential(
        conv1=Conv2d(outputs, 3, stride=stride, padding=1, bias=False),
        norm1=BatchNorm(epsilon=EPSILON),
        relu1=ReLU(),
        conv2=Conv2d(outputs, 3, stride=1, padding=1, bias=False),
        norm2=BatchNorm(epsilon=EPSILON),
    )


RESNET = Family(
    "ResNet-like",
    Sequential(
        conv=Conv2d(6, 3, padding=1, bias=False),
        norm=BatchNorm(epsilon=EPSILON),
        relu=ReLU(),
        pool=MaxPool2d(3, 2, 1),
        block1=Parallel({"shortcut": Identity(), "body": _residual_body(6, 1)}, Add()),
        relu1=ReLU(),
        block2=Parallel(
            {
                "shortcut": Sequential(conv=Conv2d(8, 1, stride=2, bias=False), norm=BatchNorm(epsilon=EPSILON)),
                "body": _residual_body(8, 2),
            },
            Add(),
        ),
        relu2=ReLU(),
        mean=AdaptiveAvgPool2d(1),
        flatten=Flatten(),
        scores=Dense(CLASSES),
    ),
    _resnet,
)


def _mobilenet(add: MakeSum) -> nn.Module:
    def body(inputs: int, outputs: int, stride: int) -> nn.Module:
        expanded = 2 * inputs
        return torch_sequential(
            expand=nn.Conv2d(inputs, expanded, 1, bias=False),
            expand_norm=nn.BatchNorm2d(expanded, EPSILON),
            expand_relu=nn.ReLU6(),
            depthwise=nn.Conv2d(expanded, expanded, 3, stride, 1, groups=expanded, bias=False),
            depthwise_norm=nn.BatchNorm2d(expanded, EPSILON),
            depthwise_relu=nn.ReLU6(),
            project=nn.Conv2d(expanded, outputs, 1, bias=False),
            project_norm=nn.BatchNorm2d(outputs, EPSILON),
        )

    return torch_sequential(
        conv=nn.Conv2d(3, 6, 3, 2, 1, bias=False),
        norm=nn.BatchNorm2d(6, EPSILON),
        relu=nn.ReLU6(),
        block1=Residual(None, body(6, 6, 1), add()),
        block2=body(6, 8, 2),
        last=nn.Conv2d(8, 12, 1, bias=False),
        last_norm=nn.BatchNorm2d(12, EPSILON),
        last_relu=nn.ReLU6(),
        mean=nn.AvgPool2d(4),
        flatten=nn.Flatten(),
        scores=nn.Linear(12, CLASSES),
    )


def _inverted_residual(inputs: int, outputs: int, stride: int) -> Layer:
    expanded = 2 * inputs
    return Sequential(
        expand=Conv2d(expanded, 1, bias=False),
        expand_norm=BatchNorm(epsilon=EPSILON),
        expand_relu=ReLU6(),
        depthwise=Conv2d(expanded, 3, stride=stride, padding=1, groups=expanded, bias=False),
        depthwise_norm=BatchNorm(epsilon=EPSILON),
        depthwise_relu=ReLU6(),
        project=Conv2d(outputs, 1, bias=False),
        project_norm=BatchNorm(epsilon=EPSILON),
    )


MOBILENET = Family(
    "MobileNet-like",
    Sequential(
        conv=Conv2d(6, 3, stride=2, padding=1, bias=False),
        norm=BatchNorm(epsilon=EPSILON),
        relu=ReLU6(),
        block1=Parallel({"shortcut": Identity(), "body": _inverted_residual(6, 6, 1)}, Add()),
        block2=_inverted_residual(6, 8, 2),
        last=Conv2d(12, 1, bias=False),
        last_norm=BatchNorm(epsilon=EPSILON),
        last_relu=ReLU6(),
        mean=AvgPool2d(4),
        flatten=Flatten(),
        scores=Dense(CLASSES),
    ),
    _mobilenet,
)

FAMILIES = (VGG, RESNET, MOBILENET)


def torch_sequential(**modules: Any) -> nn.Module:
    """Return an nn.Sequential of the named modules."""
    return nn.Sequential(OrderedDict(modules))
