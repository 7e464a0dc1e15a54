"""The activations, and dropout, in ONNX."""

from pellucid.export.onnx_nodes.node import Nodes
from pellucid.layers import (
    ELU,
    GELU,
    Dropout,
    Identity,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    ReLU6,
    Sigmoid,
    Softmax,
    Tanh,
)


def sigmoid(layer: Sigmoid, n: Nodes) -> None:
    """Write Sigmoid."""
    n.last("Sigmoid", n.x)


def tanh(layer: Tanh, n: Nodes) -> None:
    """Write Tanh."""
    n.last("Tanh", n.x)


def relu(layer: ReLU, n: Nodes) -> None:
    """Write Relu."""
    n.last("Relu", n.x)


def leaky_relu(layer: LeakyReLU, n: Nodes) -> None:
    """Write LeakyRelu."""
    n.last("LeakyRelu", n.x, alpha=float(layer.slope))


def relu6(layer: ReLU6, n: Nodes) -> None:
    """Write Clip."""
    n.last("Clip", n.x, n.number("min", 0.0), n.number("max", 6.0))


def elu(layer: ELU, n: Nodes) -> None:
    """Write Elu."""
    n.last("Elu", n.x, alpha=float(layer.alpha))


def gelu(layer: GELU, n: Nodes) -> None:
    """Write Gelu."""
    n.last("Gelu", n.x, approximate=layer.approximate)


def softmax(layer: Softmax, n: Nodes) -> None:
    """Write Softmax."""
    n.last("Softmax", n.x, axis=layer.axis)


def log_softmax(layer: LogSoftmax, n: Nodes) -> None:
    """Write LogSoftmax."""
    n.last("LogSoftmax", n.x, axis=layer.axis)


def identity(layer: Identity, n: Nodes) -> None:
    """Write Identity."""
    n.last("Identity", n.x)


def dropout(layer: Dropout, n: Nodes) -> None:
    """Write Dropout, which changes nothing outside training mode."""
    n.last("Dropout", n.x, n.number("ratio", layer.rate))
