"""From a network to its fused form: which layers may write over which memory."""

from collections.abc import Mapping

from pellucid.combine.base import Combinator
from pellucid.combine.parallel import Parallel
from pellucid.combine.sequential import Sequential
from pellucid.fuse.activations import KERNELS, FusedActivation
from pellucid.fuse.conv2d import FusedConv2d
from pellucid.fuse.dense import FusedDense, Rate
from pellucid.fuse.entrance import EntranceLayer
from pellucid.fuse.maxpool2d import FusedMaxPool2d
from pellucid.fuse.recompute import NormReLUConv
from pellucid.fuse.residual import FusedResidual
from pellucid.fuse.sequential import FusedSequential
from pellucid.layers.adaptiveavgpool2d import AdaptiveAvgPool2d
from pellucid.layers.add import Add
from pellucid.layers.avgpool2d import AvgPool2d
from pellucid.layers.base import Layer, pair
from pellucid.layers.batchnorm import BatchNorm
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.convtranspose2d import ConvTranspose2d
from pellucid.layers.dense import Dense
from pellucid.layers.flatten import Flatten
from pellucid.layers.groupnorm import GroupNorm
from pellucid.layers.instancenorm2d import InstanceNorm2d
from pellucid.layers.layernorm import LayerNorm
from pellucid.layers.maxpool2d import MaxPool2d
from pellucid.layers.relu import ReLU

# What goes back is new memory, each number once; what goes forward is too, and the layer's cache does not hold it.
NEW_MEMORY = (Dense, Conv2d, BatchNorm, MaxPool2d, AvgPool2d)
# Only what goes forward is: what goes back may be one number, seen as many.
NEW_OUTPUT = (*NEW_MEMORY, AdaptiveAvgPool2d)
# Learned values of their own; everything else that is no combinator has none.
PARAMETRIC = (Dense, Conv2d, ConvTranspose2d, BatchNorm, InstanceNorm2d, GroupNorm, LayerNorm)
# What goes back is a view of what arrived.
VIEWS = (Flatten,)


def fuse(net: Layer, rate: Rate | None = None) -> Layer:
    """Return a network that computes the same from the same params, faster and in less memory.

    Its layers write over memory that no cache needs, pool before ReLU where both orders give the same, compute
    cheap activations again instead of keeping them, and leave out the gradient with respect to the data. With a
    `rate`, each Dense whose parameters are used once learns in the sweep by plain gradient descent and returns no
    gradients. Paths and params stay; caches differ, so that rules and traces use the network as it was written.
    """
    return _fuse(net, own_dy=False, need_dx=False, rate=rate)


def _fuse(layer: Layer, own_dy: bool, need_dx: bool, rate: Rate | None) -> Layer:
    """Fuse `layer`; `own_dy`: nobody else reads the dy that arrives; `need_dx`: somebody reads the dx it returns."""
    if isinstance(layer, Sequential):
        return _fuse_sequential(layer, own_dy, need_dx, rate)
    if isinstance(layer, Parallel):
        return _fuse_parallel(layer, need_dx, rate)
    if isinstance(layer, Combinator):  # parameters may be used more than once: they learn from the sum, later
        return layer.rebuild({name: _fuse(child, False, True, None) for name, child in layer.layers.items()})
    return _fuse_leaf(layer, need_dx, rate)


def _fuse_leaf(layer: Layer, need_dx: bool, rate: Rate | None) -> Layer:
    if isinstance(layer, Dense):
        return FusedDense(layer, need_dx, rate)
    if isinstance(layer, Conv2d):
        left, right, top, bottom = layer.edges()
        return FusedConv2d(layer, need_dx) if (left, top) == (right, bottom) else layer
    if isinstance(layer, MaxPool2d) and pair(layer.dilation) == (1, 1):
        return FusedMaxPool2d(layer)
    return layer


def _fuse_parallel(layer: Parallel, need_dx: bool, rate: Rate | None) -> Layer:
    branches = {name: _fuse(branch, False, need_dx, rate) for name, branch in layer.branches.items()}
    if isinstance(layer.merge, Add) and len(branches) == 2:
        for name, branch in layer.branches.items():
            if new_output(branch) and new_dx(branch):
                return FusedResidual(branches, name)
    return layer.rebuild(branches | {"merge": layer.merge})


def _fuse_sequential(layer: Sequential, own_dy: bool, need_dx: bool, rate: Rate | None) -> Layer:
    children = _pool_first(layer.children)
    owns = {}  # whether each child is the only reader of the dy that arrives at it
    for name, child in reversed(children.items()):
        owns[name] = own_dy
        own_dy = new_dx(child) or (own_dy and isinstance(child, VIEWS))
    groups = _groups(children)
    within = {name for group in groups.values() for name in group.names[1:]}
    fused: dict[str, Layer] = {}
    before: Layer | None = None
    for name, child in children.items():
        if name in groups:
            fused[name] = groups[name]
        elif name in within:
            pass
        elif not need_dx and not owns_parameters(child):
            fused[name] = EntranceLayer(child)
        elif type(child) in KERNELS:
            fused[name] = FusedActivation(type(child), before is not None and new_output(before), owns[name])
        else:
            fused[name] = _fuse(child, owns[name], need_dx, rate)
        need_dx = need_dx or owns_parameters(child)
        before = child
    return FusedSequential(fused, frozenset(groups))


def _groups(children: Mapping[str, Layer]) -> dict[str, NormReLUConv]:
    """Return what stands for each BatchNorm, ReLU and Conv2d in a row, by the name of the BatchNorm."""
    names = list(children)
    groups = {}
    for three in zip(names, names[1:], names[2:], strict=False):
        norm, act, conv = (children[name] for name in three)
        if isinstance(norm, BatchNorm) and isinstance(act, ReLU) and isinstance(conv, Conv2d):
            groups[three[0]] = NormReLUConv(three, norm, _fuse_leaf(conv, True, None))
    return groups


def _pool_first(children: Mapping[str, Layer]) -> dict[str, Layer]:
    """Swap each ReLU with the MaxPool2d behind it.

    Both orders give the same y and the same dx: ReLU does not decrease, so the maximum passes it unharmed, and
    where it is not positive no gradient passes in either order. Pooled first, ReLU has fewer numbers to visit,
    and the large one that it would keep is never kept.
    """
    names = list(children)
    for index in range(len(names) - 1):
        if isinstance(children[names[index]], ReLU) and isinstance(children[names[index + 1]], MaxPool2d):
            names[index], names[index + 1] = names[index + 1], names[index]
    return {name: children[name] for name in names}


def owns_parameters(layer: Layer) -> bool:
    """Tell whether `layer` is a combinator or has learned values of its own."""
    return isinstance(layer, (Combinator, *PARAMETRIC))


def new_output(layer: Layer) -> bool:
    """Tell whether the output of `layer` is new memory that no cache holds."""
    if isinstance(layer, Sequential):
        return bool(layer.children) and new_output(list(_pool_first(layer.children).values())[-1])
    if isinstance(layer, Parallel):
        return isinstance(layer.merge, Add)
    return isinstance(layer, NEW_OUTPUT)


def new_dx(layer: Layer) -> bool:
    """Tell whether the dx that `layer` returns is new memory."""
    if isinstance(layer, Sequential):
        return bool(layer.children) and new_dx(next(iter(_pool_first(layer.children).values())))
    if isinstance(layer, Parallel):
        return len(layer.branches) > 1
    return isinstance(layer, NEW_MEMORY)
