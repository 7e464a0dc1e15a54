"""Samples of PyTorch's linear module, activations and softmaxes."""

from dataclasses import fields
from functools import partial
from typing import Any

from torch import Tensor, nn

from conformance.moduleinfo.module import Twin, layer
from conformance.trial import AS_IS, UNBATCHED, View, both
from conformance.views import NEGATED, ONE_VALUE, of_images
from pellucid.layers import LAYERS, Dense, Layer, LeakyReLU, LogSoftmax, Softmax, Trait


def linear(module: Any, x: Tensor) -> Twin:
    """Turn a Linear into Dense."""
    return Twin(Dense(module.out_features, module.bias is not None), UNBATCHED if x.dim() == 1 else AS_IS)


def same_options(module: Any, x: Tensor, ours: type[Layer]) -> Twin:
    """Turn an activation into ours of the same name, whose options are called the same."""
    return Twin(ours(**{field.name: getattr(module, field.name) for field in fields(ours)}))


def softmax(module: Any, x: Tensor, ours: type[Softmax] | type[LogSoftmax], sign: View = AS_IS) -> Twin:
    """Turn a softmax over any axis into ours, whose axis 0 is the batch; `sign` is applied first."""
    axis = module.dim % max(x.dim(), 1)
    view = ONE_VALUE if not x.dim() else AS_IS if axis else UNBATCHED
    return Twin(ours(axis or 1), both(view, sign))


def softmax2d(module: Any, x: Tensor) -> Twin:
    """Turn a Softmax2d, which is over the channels, into Softmax."""
    return Twin(Softmax(1), of_images(x))


VALUE_BY_VALUE = Trait.ELEMENTWISE | Trait.ACTIVATION
OTHER_NAMES = (LeakyReLU,)  # layers whose options are called otherwise in PyTorch
MODULES = (
    layer("nn.Linear", Dense, linear),
    *(
        layer(f"nn.{kind.__name__}", kind, partial(same_options, ours=kind))
        for kind in LAYERS
        if Trait.ELEMENTWISE | Trait.ACTIVATION in kind.traits
        and kind not in OTHER_NAMES
        and hasattr(nn, kind.__name__)
    ),
    layer("nn.LeakyReLU", LeakyReLU, lambda module, x: Twin(LeakyReLU(module.negative_slope))),
    layer("nn.Softmax", Softmax, partial(softmax, ours=Softmax)),
    layer("nn.Softmax2d", Softmax, softmax2d),
    layer("nn.Softmin", Softmax, partial(softmax, ours=Softmax, sign=NEGATED)),
    layer("nn.LogSoftmax", LogSoftmax, partial(softmax, ours=LogSoftmax)),
)
