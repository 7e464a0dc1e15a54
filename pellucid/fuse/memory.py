"""Whose memory layers may write over."""

from pellucid.combine.parallel import Parallel
from pellucid.combine.sequential import Sequential
from pellucid.fuse.frozen import FrozenLayer
from pellucid.fuse.order import reordered
from pellucid.layers import LAYERS
from pellucid.layers.adaptiveavgpool2d import AdaptiveAvgPool2d
from pellucid.layers.add import Add
from pellucid.layers.avgpool2d import AvgPool2d
from pellucid.layers.base import Layer
from pellucid.layers.batchnorm import BatchNorm
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.convtranspose2d import ConvTranspose2d
from pellucid.layers.dense import Dense
from pellucid.layers.flatten import Flatten
from pellucid.layers.groupnorm import GroupNorm
from pellucid.layers.instancenorm2d import InstanceNorm2d
from pellucid.layers.layernorm import LayerNorm
from pellucid.layers.maxpool2d import MaxPool2d

# What goes back is new memory, each number once; what goes forward is too, and the layer's cache does not hold it.
NEW_MEMORY = (Dense, Conv2d, BatchNorm, MaxPool2d, AvgPool2d)
# Only what goes forward is: what goes back may be one number, seen as many.
NEW_OUTPUT = (*NEW_MEMORY, AdaptiveAvgPool2d)
# Layers of ours with learned values of their own.
PARAMETRIC = (Dense, Conv2d, ConvTranspose2d, BatchNorm, InstanceNorm2d, GroupNorm, LayerNorm)
# What goes back is a view of what arrived.
VIEWS = (Flatten,)


def owns_parameters(layer: Layer) -> bool:
    """Return whether `layer` may have learned values: a combinator, one of PARAMETRIC, and every layer of a user's."""
    return type(layer) not in LAYERS or type(layer) in PARAMETRIC


def new_output(layer: Layer) -> bool:
    """Return whether the output of `layer` is new memory that no cache holds."""
    if type(layer) is Sequential:
        return bool(layer.children) and new_output(list(reordered(layer.children).values())[-1])
    if type(layer) is Parallel:
        return type(layer.merge) is Add
    if type(layer) is FrozenLayer:
        return new_output(layer.layer)
    return type(layer) in NEW_OUTPUT


def new_dx(layer: Layer) -> bool:
    """Return whether the dx that `layer` returns is new memory."""
    if type(layer) is Sequential:
        return bool(layer.children) and new_dx(next(iter(reordered(layer.children).values())))
    if type(layer) is Parallel:
        return len(layer.branches) > 1
    if type(layer) is FrozenLayer:
        return new_dx(layer.layer)
    return type(layer) in NEW_MEMORY
