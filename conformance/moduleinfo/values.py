"""Samples of PyTorch's Linear, activation and softmax modules."""

from dataclasses import fields
from functools import partial
from typing import Any

from torch import Tensor, nn

from conformance.moduleinfo.module import ConvertedModule, layer_module
from conformance.trial import AS_IS, UNBATCHED, View, compose_views
from conformance.views import NEGATED, ONE_VALUE, image_view
from pellucid.layers import LAYERS, Dense, Layer, LeakyReLU, LogSoftmax, Softmax, Trait


def linear(module: Any, x: Tensor) -> ConvertedModule:
    """Convert a Linear to Dense."""
    return ConvertedModule(Dense(module.out_features, module.bias is not None), UNBATCHED if x.dim() == 1 else AS_IS)


def with_same_options(module: Any, x: Tensor, layer_class: type[Layer]) -> ConvertedModule:
    """Convert an activation to our layer of the same name, whose options have the same names."""
    return ConvertedModule(layer_class(**{field.name: getattr(module, field.name) for field in fields(layer_class)}))


def softmax(
    module: Any, x: Tensor, layer_class: type[Softmax] | type[LogSoftmax], sign: View = AS_IS
) -> ConvertedModule:
    """Convert a softmax along any axis to `layer_class`; `sign` is applied to the input first.

    Axis 0 of our layer is the batch, so a batch axis is added for a softmax along axis 0.
    """
    axis = module.dim % max(x.dim(), 1)
    view = ONE_VALUE if not x.dim() else AS_IS if axis else UNBATCHED
    return ConvertedModule(layer_class(axis or 1), compose_views(view, sign))


def softmax2d(module: Any, x: Tensor) -> ConvertedModule:
    """Convert a Softmax2d, the softmax over the channels, to Softmax."""
    return ConvertedModule(Softmax(1), image_view(x))


VALUE_BY_VALUE = Trait.ELEMENTWISE | Trait.ACTIVATION
OTHER_NAMES = (LeakyReLU,)  # layers whose options have other names in PyTorch
MODULES = (
    layer_module("nn.Linear", Dense, linear),
    *(
        layer_module(f"nn.{kind.__name__}", kind, partial(with_same_options, layer_class=kind))
        for kind in LAYERS
        if VALUE_BY_VALUE in kind.traits and kind not in OTHER_NAMES and hasattr(nn, kind.__name__)
    ),
    layer_module("nn.LeakyReLU", LeakyReLU, lambda module, x: ConvertedModule(LeakyReLU(module.negative_slope))),
    layer_module("nn.Softmax", Softmax, partial(softmax, layer_class=Softmax)),
    layer_module("nn.Softmax2d", Softmax, softmax2d),
    layer_module("nn.Softmin", Softmax, partial(softmax, layer_class=Softmax, sign=NEGATED)),
    layer_module("nn.LogSoftmax", LogSoftmax, partial(softmax, layer_class=LogSoftmax)),
)
