"""Nodes of ONNX's activations."""

import math
from functools import partial

import torch
from torch import Tensor

from conformance.case import SkipCase
from conformance.onnx_nodes.operator import Operator, Outputs, batched_axis, elementwise, forward
from pellucid.layers import ELU, GELU, Identity, Layer, LeakyReLU, LogSoftmax, ReLU, ReLU6, Sigmoid, Softmax, Tanh


def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Outputs:
    """Return the outputs of a LeakyRelu node, computed by LeakyReLU."""
    return elementwise(LeakyReLU(alpha), x)


def elu(x: Tensor, *, alpha: float = 1.0) -> Outputs:
    """Return the outputs of an Elu node, computed by ELU."""
    return elementwise(ELU(alpha), x)


def gelu(x: Tensor, *, approximate: str = "none") -> Outputs:
    """Return the outputs of a Gelu node, computed by GELU."""
    return elementwise(GELU(approximate), x)


def clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Outputs:
    """Return the outputs of a Clip node with the limits 0 and 6, computed by ReLU6."""
    limits = [None if limit is None else float(limit) for limit in (low, high)]
    if limits != [0.0, 6.0]:
        raise SkipCase("limits other than 0 and 6")
    return elementwise(ReLU6(), x)


def clip_by_attributes(x: Tensor, *, min: float = -math.inf, max: float = math.inf) -> Outputs:
    """Return the outputs of a Clip node of a version before 11, whose limits are attributes."""
    return clip(x, torch.tensor(min), torch.tensor(max))


def flattened_softmax(layer: Layer, x: Tensor, *, axis: int = 1) -> Outputs:
    """Return the outputs of a Softmax or LogSoftmax node of a version before 13, computed by `layer`.

    In these versions the softmax is taken over all axes from `axis` on.
    """
    rows = x.reshape(math.prod(x.shape[: axis % x.dim()]), -1)
    return (forward(layer, rows)[0].reshape(x.shape),)


def softmax(x: Tensor, *, axis: int = -1) -> Outputs:
    """Return the outputs of a Softmax node, computed by Softmax; for axis 0, x gets an additional batch axis."""
    softmax_axis, view = batched_axis(axis, x.dim())
    return (view.drop(forward(Softmax(softmax_axis), view.lift(x))[0]),)


def log_softmax(x: Tensor, *, axis: int = -1) -> Outputs:
    """Return the outputs of a LogSoftmax node, computed by LogSoftmax; for axis 0, x gets an additional batch axis."""
    softmax_axis, view = batched_axis(axis, x.dim())
    return (view.drop(forward(LogSoftmax(softmax_axis), view.lift(x))[0]),)


OPERATORS = {
    "Relu": Operator(ReLU, partial(elementwise, ReLU())),
    "LeakyRelu": Operator(LeakyReLU, leaky_relu),
    "Elu": Operator(ELU, elu),
    "Gelu": Operator(GELU, gelu),
    "Clip": Operator(ReLU6, clip, since=11, older=Operator(ReLU6, clip_by_attributes)),
    "Sigmoid": Operator(Sigmoid, partial(elementwise, Sigmoid())),
    "Tanh": Operator(Tanh, partial(elementwise, Tanh())),
    "Identity": Operator(Identity, partial(elementwise, Identity()), moves=True),
    "Softmax": Operator(Softmax, softmax, since=13, older=Operator(Softmax, partial(flattened_softmax, Softmax()))),
    "LogSoftmax": Operator(
        LogSoftmax, log_softmax, since=13, older=Operator(LogSoftmax, partial(flattened_softmax, LogSoftmax()))
    ),
}
