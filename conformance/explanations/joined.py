"""Two small networks whose branches are joined along the channels, like those of GoogLeNet and DenseNet."""

from typing import Any

import torch
from torch import Tensor, nn

from conformance.explanations.networks import CLASSES, EPSILON, Family, MakeSum, torch_sequential
from pellucid.combine import Parallel, Sequential
from pellucid.layers import (
    AdaptiveAvgPool2d,
    BatchNorm,
    Concat,
    Conv2d,
    Dense,
    Flatten,
    Identity,
    Layer,
    MaxPool2d,
    ReLU,
)


class Branches(nn.Module):
    """Branches on one input, joined along the channels, with the names of the branches of our Parallel.

    A branch that is None is the input itself.
    """

    def __init__(self, **branches: nn.Module | None) -> None:
        super().__init__()
        self.names = tuple(branches)
        for name, module in branches.items():
            if module is not None:
                self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        modules = dict(self.named_children())
        return torch.cat([modules[name](x) if name in modules else x for name in self.names], 1)


def _conv(outputs: int, kernel: int) -> Layer:
    return Sequential(conv=Conv2d(outputs, kernel, padding=kernel // 2), relu=ReLU())


def _torch_conv(inputs: int, outputs: int, kernel: int) -> nn.Module:
    return torch_sequential(conv=nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), relu=nn.ReLU())


def _googlenet(add: MakeSum) -> nn.Module:
    return torch_sequential(
        stem=nn.Conv2d(3, 6, 3, 2, 1),
        stem_relu=nn.ReLU(),
        block=Branches(
            one=_torch_conv(6, 3, 1),
            three=torch_sequential(reduce=_torch_conv(6, 3, 1), conv=_torch_conv(3, 4, 3)),
            pool=torch_sequential(pool=nn.MaxPool2d(3, 1, 1), project=_torch_conv(6, 2, 1)),
        ),
        down=nn.MaxPool2d(2),
        last=nn.Conv2d(9, 8, 3),
        last_relu=nn.ReLU(),
        mean=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        scores=nn.Linear(8, CLASSES),
    )


GOOGLENET = Family(
    "GoogLeNet-like",
    Sequential(
        stem=Conv2d(6, 3, stride=2, padding=1),
        stem_relu=ReLU(),
        block=Parallel(
            {
                "one": _conv(3, 1),
                "three": Sequential(reduce=_conv(3, 1), conv=_conv(4, 3)),
                "pool": Sequential(pool=MaxPool2d(3, 1, 1), project=_conv(2, 1)),
            },
            Concat(),
        ),
        down=MaxPool2d(2),
        last=Conv2d(8, 3),
        last_relu=ReLU(),
        mean=AdaptiveAvgPool2d(1),
        flatten=Flatten(),
        scores=Dense(CLASSES),
    ),
    _googlenet,
)


def _dense_layer(inputs: int) -> dict[str, Any]:
    return {"norm": BatchNorm(epsilon=EPSILON), "relu": ReLU(), "conv": Conv2d(3, 3, padding=1, bias=False)}


def _torch_dense_layer(inputs: int) -> nn.Module:
    return torch_sequential(
        norm=nn.BatchNorm2d(inputs, EPSILON), relu=nn.ReLU(), conv=nn.Conv2d(inputs, 3, 3, padding=1, bias=False)
    )


def _densenet(add: MakeSum) -> nn.Module:
    return torch_sequential(
        stem=nn.Conv2d(3, 4, 3, 2, 1),
        dense1=Branches(kept=None, new=_torch_dense_layer(4)),
        dense2=Branches(kept=None, new=_torch_dense_layer(7)),
        last_norm=nn.BatchNorm2d(10, EPSILON),
        last_relu=nn.ReLU(),
        mean=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        scores=nn.Linear(10, CLASSES),
    )


DENSENET = Family(
    "DenseNet-like",
    Sequential(
        stem=Conv2d(4, 3, stride=2, padding=1),
        dense1=Parallel({"kept": Identity(), "new": Sequential(**_dense_layer(4))}, Concat()),
        dense2=Parallel({"kept": Identity(), "new": Sequential(**_dense_layer(7))}, Concat()),
        last_norm=BatchNorm(epsilon=EPSILON),
        last_relu=ReLU(),
        mean=AdaptiveAvgPool2d(1),
        flatten=Flatten(),
        scores=Dense(CLASSES),
    ),
    _densenet,
)

BRANCHED_FAMILIES = (GOOGLENET, DENSENET)
