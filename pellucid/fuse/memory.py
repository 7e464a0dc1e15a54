"""Predicates for memory that layers may overwrite, and a reordering of layers that saves operations.

Tests: tests/fuse/test_fuse.py.
"""

from collections.abc import Mapping

from pellucid.combine.parallel import Parallel
from pellucid.combine.sequential import Sequential
from pellucid.fuse.frozen import FrozenLayer
from pellucid.layers import LAYERS
from pellucid.layers.add import Add
from pellucid.layers.avgpool2d import AvgPool2d
from pellucid.layers.base import Layer, Trait, declares, pair
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.maxpool2d import MaxPool2d
from pellucid.layers.relu import ReLU


def owns_parameters(layer: Layer) -> bool:
    """Return whether `layer` may have trainable parameters; True for any combinator or user-defined layer."""
    return type(layer) is not FrozenLayer and (type(layer) not in LAYERS or Trait.LEARNS in layer.traits)


def has_new_output(layer: Layer) -> bool:
    """Return whether the output of `layer` is new memory that is not in any cache."""
    if type(layer) is Sequential:
        return ends_new_output(layer.children)
    if type(layer) is Parallel:
        return type(layer.merge) is Add or declares(layer.merge, Trait.NEW_OUTPUT)
    if type(layer) is FrozenLayer:
        return has_new_output(layer.layer)
    return declares(layer, Trait.NEW_OUTPUT)


def ends_new_output(children: Mapping[str, Layer]) -> bool:
    """Return whether the output of a sequence of layers is new memory that is not in any cache."""
    last = list(reorder_layers(children).values())[-1:]
    # Other Parallels may become part of a dense block, which caches its output.
    return any(has_new_output(child) and (type(child) is not Parallel or type(child.merge) is Add) for child in last)


def has_new_dx(layer: Layer) -> bool:
    """Return whether the dx that `layer` returns is new memory."""
    if type(layer) is Sequential:
        return begins_new_dx(layer.children)
    if type(layer) is Parallel:
        return len(layer.branches) > 1
    if type(layer) is FrozenLayer:
        return has_new_dx(layer.layer)
    return declares(layer, Trait.NEW_DX)


def begins_new_dx(children: Mapping[str, Layer]) -> bool:
    """Return whether the dx that a sequence of layers returns is new memory."""
    return bool(children) and has_new_dx(next(iter(reorder_layers(children).values())))


def reorder_layers(children: Mapping[str, Layer]) -> dict[str, Layer]:
    """Swap each ReLU with a MaxPool2d after it, and each 1 x 1 convolution with an AvgPool2d after it.

    Both orders give the same y and the same gradients. ReLU is monotonic, so it commutes with the maximum, and the
    gradient is 0 in either order if the maximum is not positive. A mean over pixels commutes with a sum over channels.
    If pooling comes first, the other layer has fewer values to compute and to cache.
    """
    names = list(children)
    for index in range(len(names) - 1):
        first, second = children[names[index]], children[names[index + 1]]
        if (type(first) is ReLU and type(second) is MaxPool2d) or _commutes(first, second):
            names[index], names[index + 1] = names[index + 1], names[index]
    return {name: children[name] for name in names}


def _commutes(conv: Layer, pool: Layer) -> bool:
    if not (type(conv) is Conv2d and type(pool) is AvgPool2d):
        return False
    is_pointwise = pair(conv.kernel) == pair(conv.stride) == (1, 1) and conv.edges() == (0, 0, 0, 0)
    return (
        is_pointwise and pair(pool.padding) == (0, 0) and not pool.ceil_mode
    )  # with padding, the means would include zeros without the bias
