"""Sample networks for the contract tests of each combinator."""

from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.layers import (
    Add,
    BatchNorm,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Dropout,
    Flatten,
    Identity,
    Layer,
    MaxPool2d,
    Multiply,
    ReLU,
    Sigmoid,
    Tanh,
)
from tests.oracle import Sample


def residual_block(filters: int) -> Layer:
    """Return a residual block (He et al. 2016)."""
    body = Sequential(
        conv1=Conv2d(filters, 3, padding=1, bias=False),
        norm1=BatchNorm(),
        act1=ReLU(),
        conv2=Conv2d(filters, 3, padding=1),
        norm2=BatchNorm(),
    )
    return Sequential(residual=Parallel({"skip": Identity(), "body": body}, Add()), act=ReLU())


def u_net(filters: int, depth: int) -> Layer:
    """Return a U-Net (Ronneberger et al. 2015), in which each level contains the level below it."""
    inner = u_net(2 * filters, depth - 1) if depth else Conv2d(2 * filters, 3, padding=1)
    deeper = Sequential(
        down=MaxPool2d(2),
        conv=Conv2d(filters, 3, padding=1),
        act=ReLU(),
        inner=inner,
        up=ConvTranspose2d(filters, 2, stride=2),
    )
    return Parallel({"skip": Identity(), "deeper": deeper}, Concat())


TWO_SHAPES = ((3, 4, 4), (3, 4, 4))

NETWORKS: dict[str, Sample] = {
    "empty sequential": Sample(Sequential(), (3,)),
    "mlp": Sample(Sequential(Dense(4), Sigmoid(), Dense(3), Sigmoid()), (5,)),
    "add": Sample(Parallel((Conv2d(3, 3, padding=1), Identity()), Add()), (3, 4, 5)),
    "concat": Sample(Parallel((Conv2d(2, 1), MaxPool2d(3, 1, 1), Tanh()), Concat()), (3, 4, 5)),
    "multiply": Sample(Parallel({"value": Dense(4), "gate": Sequential(Dense(4), Sigmoid())}, Multiply()), (3,)),
    "residual net": Sample(
        Sequential(stem=Conv2d(4, 3), block1=residual_block(4), block2=residual_block(4), flat=Flatten(), out=Dense(2)),
        (2, 6, 5),
        train=True,
    ),
    "residual net, evaluating": Sample(Sequential(residual_block(2), residual_block(2)), (2, 3, 4)),
    "u-net": Sample(Sequential(net=u_net(3, 1), out=Conv2d(2, 1)), (2, 8, 12)),
    "fork": Sample(Fork(scores=Dense(4), boxes=Sequential(Dense(3), Tanh()), same=Identity()), (5,)),
    "fork of forks": Sample(Sequential(Dense(4), Fork(Fork(Dense(1), Dense(2)), Dense(3))), (3,)),
    "shared": Sample(Shared(Conv2d(2, 3)), ((3, 5, 4), (3, 7, 3))),
    "shared on a fork": Sample(
        Sequential(fork=Fork(a=Dense(4), b=Tanh()), both=Shared(Sequential(Dense(3), Sigmoid())), join=Concat()), (4,)
    ),
    "dropout in branches": Sample(
        Parallel((Sequential(Dropout(0.3), Dense(3)), Sequential(Dense(3), Dropout(0.6))), Add()), (6,), train=True
    ),
    "graph chain": Sample(Graph({"a": (Dense(3), "input"), "b": (Tanh(), "a")}, ("b",)), (4,)),
    "graph with a repeated node": Sample(
        Graph(
            {
                "first": (Dense(4), "input"),
                "act": (Tanh(), "first"),
                "second": ("first", "act"),
                "third": ("first", "second"),
                "sum": (Add(), "first", "third", "act"),
            },
            ("sum",),
        ),
        (4,),
    ),
    "graph with several inputs and outputs": Sample(
        Graph(
            {
                "left": (Conv2d(2, 3, padding=1), "x"),
                "right": (Conv2d(2, 1), "z"),
                "gate": (Multiply(), "left", "right"),
                "all": (Concat(), "gate", "x", "left"),
            },
            ("all", "left", "gate"),
            ("x", "z"),
        ),
        TWO_SHAPES,
    ),
    "graph with an unused node": Sample(
        Graph({"used": (Dense(3), "input"), "unused": (Dense(2), "input"), "above": (Tanh(), "unused")}, ("used",)),
        (4,),
    ),
    "graph with an unused input": Sample(Graph({"a": (Dense(2), "x")}, ("a",), ("x", "z")), ((3,), (4,))),
    "graph that hands its input on": Sample(Graph({"a": (Dense(2), "input")}, ("a", "input")), (3,)),
    "graph with one value twice": Sample(Graph({"square": (Multiply(), "input", "input")}, ("square", "square")), (3,)),
    "graph of combinators": Sample(
        Graph(
            {
                "stem": (Sequential(Conv2d(4, 3, padding=1), ReLU()), "input"),
                "block": (residual_block(4), "stem"),
                "again": ("block", "block"),
                "heads": (Fork(Conv2d(2, 1), Conv2d(3, 1)), "again"),
                "tower": (Shared(Sequential(Tanh())), "heads"),
                "join": (Concat(), "stem", "block"),
            },
            ("tower", "join"),
        ),
        (2, 4, 4),
        train=True,
    ),
}
