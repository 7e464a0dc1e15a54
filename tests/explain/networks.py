"""Networks of every structure, small enough for explicit matrices, with random float64 parameters."""

from typing import Any

import torch
from torch import Tensor

from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.layers import (
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    Identity,
    Layer,
    MaxPool2d,
    Multiply,
    ReLU,
    ReLU6,
    Sigmoid,
    Tanh,
)
from tests.oracle import normal, randomized

SHAPE, CLASSES = (2, 6, 6), 3


def head() -> dict[str, Layer]:
    return {"flat": Flatten(), "scores": Dense(CLASSES)}


def conv(filters: int = 3) -> Layer:
    return Conv2d(filters, 3, padding=1)


def residual() -> Layer:
    body = Sequential(conv1=conv(), norm1=BatchNorm(), relu=ReLU(), conv2=conv(), norm2=BatchNorm())
    return Sequential(sum=Parallel({"skip": Identity(), "body": body}, Add()), relu=ReLU())


NETWORKS: dict[str, Layer] = {
    "vgg": Sequential(
        conv1=conv(), relu1=ReLU(), pool1=MaxPool2d(2), conv2=conv(4), relu2=ReLU(), pool2=AvgPool2d(3), **head()
    ),
    "resnet": Sequential(
        stem=conv(),
        norm=BatchNorm(),
        relu=ReLU(),
        pool=MaxPool2d(3, 2, 1),
        block1=residual(),
        block2=residual(),
        **head(),
    ),
    "inception": Sequential(
        stem=conv(),
        mixed=Parallel({"a": Conv2d(2, 1), "b": Sequential(ReLU(), conv(2)), "c": MaxPool2d(3, 1, 1)}, Concat()),
        relu=ReLU6(),
        mean=AdaptiveAvgPool2d(2),
        **head(),
    ),
    "u-net": Sequential(
        level=Parallel(
            {
                "skip": Identity(),
                "deeper": Sequential(down=MaxPool2d(2), conv=conv(), relu=ReLU(), up=ConvTranspose2d(2, 2, stride=2)),
            },
            Concat(),
        ),
        conv=conv(2),
        **head(),
    ),
    "siamese": Sequential(
        fork=Fork(left=conv(2), right=Sequential(Conv2d(2, 1), Tanh())),
        shared=Shared(Sequential(conv=Conv2d(2, 3), relu=ReLU())),
        sum=Add(),
        **head(),
    ),
    "recurrent": Graph(
        {
            "step": (conv(2), "input"),
            "relu1": (ReLU(), "step"),
            "again": ("step", "relu1"),
            "relu2": ("relu1", "again"),
            "sum": (Add(), "relu2", "relu1", "input"),
            "flat": (Flatten(), "sum"),
            "scores": (Dense(CLASSES), "flat"),
        },
        ("scores",),
    ),
    "gated": Sequential(
        gate=Parallel({"value": conv(2), "gate": Sequential(conv(2), Sigmoid())}, Multiply()), relu=ReLU(), **head()
    ),
}


def network_and_batch(name: str, seed: int = 0, examples: int = 2) -> tuple[Layer, Any, Tensor]:
    """Return a network, its parameters and normally distributed inputs (examples, *SHAPE)."""
    rng = torch.Generator().manual_seed(seed)
    net = NETWORKS[name]
    return net, randomized(net.init(SHAPE, rng)[0], rng), normal((examples, *SHAPE), rng)
