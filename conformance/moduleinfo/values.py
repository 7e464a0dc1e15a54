"""Samples of PyTorch's linear module, activations and softmaxes."""

from functools import partial
from typing import Any

from torch import Tensor

from conformance.moduleinfo.module import Twin, layer
from conformance.trial import AS_IS, UNBATCHED, View, both
from conformance.views import NEGATED, ONE_VALUE, of_images
from pellucid.layers import ELU, GELU, Dense, LeakyReLU, LogSoftmax, ReLU, ReLU6, Sigmoid, Softmax, Tanh


def linear(module: Any, x: Tensor) -> Twin:
    """Turn a Linear into Dense."""
    return Twin(Dense(module.out_features, module.bias is not None), UNBATCHED if x.dim() == 1 else AS_IS)


def softmax(module: Any, x: Tensor, ours: type[Softmax] | type[LogSoftmax], sign: View = AS_IS) -> Twin:
    """Turn a softmax over any axis into ours, whose axis 0 is the batch; `sign` is applied first."""
    axis = module.dim % max(x.dim(), 1)
    view = ONE_VALUE if not x.dim() else AS_IS if axis else UNBATCHED
    return Twin(ours(axis or 1), both(view, sign))


def softmax2d(module: Any, x: Tensor) -> Twin:
    """Turn a Softmax2d, which is over the channels, into Softmax."""
    return Twin(Softmax(1), of_images(x))


MODULES = (
    layer("nn.Linear", Dense, linear),
    layer("nn.ReLU", ReLU, lambda module, x: Twin(ReLU())),
    layer("nn.ReLU6", ReLU6, lambda module, x: Twin(ReLU6())),
    layer("nn.LeakyReLU", LeakyReLU, lambda module, x: Twin(LeakyReLU(module.negative_slope))),
    layer("nn.ELU", ELU, lambda module, x: Twin(ELU(module.alpha))),
    layer("nn.GELU", GELU, lambda module, x: Twin(GELU(module.approximate))),
    layer("nn.Sigmoid", Sigmoid, lambda module, x: Twin(Sigmoid())),
    layer("nn.Tanh", Tanh, lambda module, x: Twin(Tanh())),
    layer("nn.Softmax", Softmax, partial(softmax, ours=Softmax)),
    layer("nn.Softmax2d", Softmax, softmax2d),
    layer("nn.Softmin", Softmax, partial(softmax, ours=Softmax, sign=NEGATED)),
    layer("nn.LogSoftmax", LogSoftmax, partial(softmax, ours=LogSoftmax)),
)
