"""Elementwise operators of ONNX as layers."""

from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.export.onnx_readers.reading import Found, Reading, Unreadable, plain
from pellucid.layers import (
    ELU,
    GELU,
    Add,
    BatchNorm,
    Dropout,
    Identity,
    LeakyReLU,
    LogSoftmax,
    Multiply,
    ReLU,
    ReLU6,
    Sigmoid,
    Softmax,
    Tanh,
)
from pellucid.layers.base import Layer

PLAIN: dict[str, type[Layer]] = {"Sigmoid": Sigmoid, "Tanh": Tanh, "Relu": ReLU, "Identity": Identity}


def same(it: Reading) -> Found:
    """Read an operator without attributes."""
    return it.found(PLAIN[it.node.op]())


def leaky_relu(it: Reading) -> Found:
    """Read LeakyRelu."""
    return it.found(LeakyReLU(plain(it.take("alpha", 0.01))))


def elu(it: Reading) -> Found:
    """Read Elu."""
    return it.found(ELU(plain(it.take("alpha", 1.0))))


def gelu(it: Reading) -> Found:
    """Read Gelu."""
    return it.found(GELU(it.take("approximate", "none")))


def clip(it: Reading) -> Found:
    """Read Clip from 0 to 6."""
    limits = it.number(1, float("-inf")), it.number(2, float("inf"))
    if limits != (0.0, 6.0):
        raise Unreadable(f"clips to {limits}, not to (0.0, 6.0)")
    return it.found(ReLU6())


def softmax(it: Reading) -> Found:
    """Read Softmax."""
    return it.found(Softmax(_axis(it)))


def log_softmax(it: Reading) -> Found:
    """Read LogSoftmax."""
    return it.found(LogSoftmax(_axis(it)))


def dropout(it: Reading) -> Found:
    """Read Dropout that does not train."""
    it.take("seed", 0)
    if it.given(2) and bool(it.constant(2, torch.bool).any()):
        raise Unreadable("is told to train")
    return it.found(Dropout(it.number(1, 0.5)))


def add(it: Reading) -> Found:
    """Read Add, with a constant for each channel as BatchNorm."""
    return it.merged(Add()) if it.flowing == it.node.inputs else _by_channel(it, lambda c: {"bias": c})


def multiply(it: Reading) -> Found:
    """Read Mul, with a constant for each channel as BatchNorm."""
    return it.merged(Multiply()) if it.flowing == it.node.inputs else _by_channel(it, lambda c: {"weight": c})


def subtract(it: Reading) -> Found:
    """Read Sub of a constant for each channel as BatchNorm."""
    return _by_channel(it, lambda c: {"running_mean": c})


def divide(it: Reading) -> Found:
    """Read Div by a constant for each channel as BatchNorm."""
    return _by_channel(it, lambda c: {"weight": 1 / c})


def _by_channel(it: Reading, part: Callable[[Tensor], dict[str, Tensor]]) -> Found:
    """Return a BatchNorm that changes nothing but what `part` makes of the constant."""
    shape, given = it.shape, it.constant(1)
    channels = shape[0] if shape else 0
    sizes = (1,) * (len(shape) + 1 - given.dim()) + tuple(given.shape)
    if (
        len(shape) not in (1, 3)
        or len(sizes) != len(shape) + 1
        or sizes
        not in (
            (1, channels, *(1 for _ in shape[1:])),
            (1,) * len(sizes),
        )
    ):
        raise Unreadable(f"takes a constant of shape {tuple(given.shape)}, not one number for each channel")
    zeros, ones = torch.zeros(channels), torch.ones(channels)
    params = {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones}
    return it.found(BatchNorm(epsilon=0.0), **params | part(given.reshape(-1).expand(channels).contiguous()))


def _axis(it: Reading) -> int:
    axis = it.take("axis", -1)
    axis += len(it.shape) + 1 if axis < 0 else 0
    if axis < 1:
        raise Unreadable("works along the batch")
    return axis
