"""Conversion of a network to its fused form.

Tests: tests/fuse/test_fuse.py, tests/fuse/test_exact_types.py.
"""

from collections.abc import Callable, Mapping
from itertools import groupby
from math import prod
from typing import Any

from pellucid.combine.base import uses_flow
from pellucid.combine.graph import Graph
from pellucid.combine.parallel import Parallel
from pellucid.combine.sequential import Sequential
from pellucid.fuse.activations import (
    CHEAP_ACTIVATIONS,
    KERNELS,
    FusedActivation,
    FusedLeakyReLU,
)
from pellucid.fuse.attention import FusedAttention
from pellucid.fuse.combinators import (
    FusedAdd,
    FusedGraph,
    FusedResidual,
    FusedSequential,
    chains_of,
    count_readers,
    unshared_nodes,
)
from pellucid.fuse.context import FROZEN, FusionContext, Rate
from pellucid.fuse.dense_block import DenseBlock, as_dense_layer
from pellucid.fuse.frozen import FrozenLayer, FrozenNorm
from pellucid.fuse.kernel_form import KernelForm
from pellucid.fuse.kernels import BACKWARD_KERNELS
from pellucid.fuse.memory import (
    begins_new_dx,
    ends_new_output,
    has_new_dx,
    has_new_output,
    owns_parameters,
    reorder_layers,
)
from pellucid.fuse.recompute import NormActConv
from pellucid.fuse.single_layers import (
    FusedConcat,
    FusedConv2d,
    FusedConvTranspose2d,
    FusedDense,
    FusedMaxPool2d,
    FusedPadChannels,
)
from pellucid.fuse.start import EntranceLayer, FrozenEntrance
from pellucid.layers.add import Add
from pellucid.layers.avgpool2d import AvgPool2d
from pellucid.layers.base import Layer, Trait, declares, pair
from pellucid.layers.batchnorm import BatchNorm
from pellucid.layers.concat import Concat
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.convtranspose2d import ConvTranspose2d
from pellucid.layers.dense import Dense
from pellucid.layers.leakyrelu import LeakyReLU
from pellucid.layers.maxpool2d import MaxPool2d
from pellucid.layers.padchannels import PadChannels
from pellucid.operators.products import Attention

# An activation is recomputed if the convolution after it has at least this many multiply-adds per value of its input.
# For the depthwise and the narrow convolutions of MobileNetV2, recomputing takes 9 % of a step.
# Cached, they need 1.7 times the memory, which is 0.68 of PyTorch's.
MIN_RECOMPUTED = 130

# Fused forms that do not depend on the layer's options or the context.
SIMPLE_FORMS: dict[type[Layer], Callable[[Any], Layer]] = {
    **dict.fromkeys(BACKWARD_KERNELS, KernelForm),
    PadChannels: FusedPadChannels,
    Concat: FusedConcat,
    Attention: FusedAttention,
}


def fuse(net: Layer, rate: Rate | None = None, need_dx: bool = False) -> Layer:
    """Return an equivalent network with the same params that is faster and needs less memory.

    Its layers overwrite memory that no cache needs, and pool first if the order does not matter. They recompute cheap
    activations instead of caching them, and store the maps of a dense block in one tensor. No gradients are computed
    before the first trainable layers. need_dx: whether the gradient with respect to the input is needed, as for a
    network whose inputs are the outputs of another network. rate: if given, each Dense and Conv2d whose parameters are
    used only once updates them in the backward pass by gradient descent, and returns no gradients. Params are
    unchanged, but caches differ, and the layers of a graph have other paths, so relevance rules and traces need the
    original network. Subclasses of the replaced layers are not replaced.
    """
    return _fuse(net, own_dy=False, need_dx=need_dx, context=FusionContext(rate))


def _fuse(layer: Layer, own_dy: bool, need_dx: bool, context: FusionContext) -> Layer:
    """Fuse `layer`; own_dy: whether no other layer reads its dy; need_dx: whether its dx is used."""
    # exact types only, here and below: a subclass may compute something else, and keeps its own passes
    if type(layer) is FrozenLayer:
        return FrozenLayer(_fuse(layer.layer, own_dy, True, FROZEN)) if need_dx else FrozenEntrance(layer.layer)
    if type(layer) is Sequential:
        return _fuse_children(layer.children, own_dy, need_dx, context)
    if type(layer) is Parallel:
        return _fuse_parallel(layer, need_dx, context)
    if type(layer) is Graph:
        return _fuse_graph(layer, need_dx, context)
    if uses_flow(layer):  # layers may be used more than once, so the update has to wait for the sum of their gradients
        return layer.rebuild(
            {
                name: _fuse(child, False, True, FusionContext(None, context.learns))
                for name, child in layer.layers.items()
            }
        )
    return _fuse_leaf(layer, need_dx, context)


def _fuse_graph(graph: Graph, need_dx: bool, context: FusionContext) -> Layer:
    """Fuse the chains of layers; chains without a trainable layer before them need no backward pass."""
    n_readers = count_readers(graph)
    unshared = unshared_nodes(graph)
    chains = {names[-1]: names for names in chains_of(graph)}
    sources = {name: graph.nodes[names[0]][1:] for name, names in chains.items()}
    children = {
        name: {member: graph.nodes[member][0] for member in names}
        for name, names in chains.items()
        if name in unshared and sources[name]
    }
    needs_dx: dict[str, bool] = {}  # by the name of a chain
    needs_gradient = dict.fromkeys(graph.inputs, need_dx)  # by name: whether a gradient of the value is used
    for name, names in chains.items():
        layers = [graph.nodes[member][0] for member in names]
        needs_dx[name] = name not in unshared or any(needs_gradient[source] for source in sources[name])
        needs_gradient[name] = needs_dx[name] or any(map(owns_parameters, layers))
    new_dx = {
        name
        for name, layers in children.items()
        if needs_dx[name] and len(sources[name]) == 1 and begins_new_dx(layers)
    }
    own_dy = {source for name in new_dx for source in sources[name]} & children.keys()
    new_output = {name for name, layers in children.items() if n_readers[name] == 1 and ends_new_output(layers)}
    nodes: dict[str, tuple[Any, ...]] = {}
    for name, names in chains.items():
        node = graph.nodes[name][0]
        if name in children:
            first_layer = children[name][names[0]]
            if type(first_layer) is Add and needs_dx[name] and len(sources[name]) > 1:
                target = next((k for k, source in enumerate(sources[name]) if source in new_output), None)
                children[name][names[0]] = FusedAdd(first_layer, len(sources[name]), target)
            node = _fuse_children(children[name], name in own_dy, needs_dx[name], context)
        # a text names an earlier node whose layer runs again with the same parameters
        elif not isinstance(node, str):
            node_context = context if name in unshared else FusionContext(None, context.learns)
            node = _fuse(node, False, True, node_context) if needs_dx[name] else _fuse_entrance(node, node_context)
        nodes[name] = (node, *sources[name])
    chain_names = {name: chains[name] for name in children}
    return FusedGraph(graph.with_fields(nodes=nodes), chain_names, frozenset(own_dy), frozenset(new_dx))


def _fuse_entrance(layer: Layer, context: FusionContext) -> Layer:
    """Fuse a layer without trainable layers before it, whose dx is not needed."""
    if owns_parameters(layer):
        return _fuse(layer, False, False, context)
    return FrozenEntrance(layer.layer) if type(layer) is FrozenLayer else EntranceLayer(layer)


def _fuse_leaf(layer: Layer, need_dx: bool, context: FusionContext) -> Layer:
    if type(layer) is Dense:
        return FusedDense(layer, need_dx, context)
    if type(layer) is Conv2d:
        left, right, top, bottom = layer.edges()
        # PyTorch's kernel pads opposite edges alike
        return FusedConv2d(layer, need_dx, context) if (left, top) == (right, bottom) else KernelForm(layer)
    if type(layer) is ConvTranspose2d and not need_dx and context.learns:
        return FusedConvTranspose2d(layer)
    if type(layer) is MaxPool2d and pair(layer.dilation) == (1, 1):
        return FusedMaxPool2d(layer)
    fused_type = SIMPLE_FORMS.get(type(layer))
    return layer if fused_type is None else fused_type(layer)


def _fuse_parallel(layer: Parallel, need_dx: bool, context: FusionContext) -> Layer:
    branches = {name: _fuse(branch, False, need_dx, context) for name, branch in layer.branches.items()}
    # the sum is computed in the output of a branch that no cache keeps
    if type(layer.merge) is Add and len(branches) == 2:
        for name, branch in layer.branches.items():
            if has_new_output(branch) and has_new_dx(branch):
                return FusedResidual(branches, name)
    return layer.rebuild(branches | {"merge": _fuse_leaf(layer.merge, True, context)})


def _fuse_children(
    children: Mapping[str, Layer], own_dy: bool, need_dx: bool, context: FusionContext
) -> FusedSequential:
    """Fuse the layers of a sequence; own_dy, need_dx: as for `_fuse`."""
    children = reorder_layers(children)
    owns_dy = {}  # by name: whether the child is the only reader of its dy
    for name, child in reversed(children.items()):
        owns_dy[name] = own_dy
        own_dy = has_new_dx(child) or (own_dy and declares(child, Trait.VIEW))
    blocks = _dense_blocks(children, owns_dy, context)
    block_names = {name for block in blocks.values() for name in block.names}  # their outputs are in the block's cache
    groups: dict[str, NormActConv | DenseBlock] = {**_recomputed_groups(children, context), **blocks}
    group_members = {name for group in groups.values() for name in group.names[1:]}
    fused: dict[str, Layer] = {}
    previous: Layer | None = None
    for name, child in children.items():
        if name in groups:
            fused[name] = groups[name]
        # computed by the group, which has the name of its first layer
        elif name in group_members:
            pass
        # nothing before here learns, so no gradient has to pass through
        elif not need_dx and not owns_parameters(child):
            fused[name] = _fuse_entrance(child, context)
        elif (norm := _frozen_norm(child, context)) is not None:
            fused[name] = FrozenNorm(norm, previous is not None and has_new_output(previous), owns_dy[name])
        elif type(child) in KERNELS:
            fused[name] = FusedActivation(type(child), previous is not None and has_new_output(previous), owns_dy[name])
        elif type(child) is LeakyReLU:
            fused[name] = FusedLeakyReLU(child, previous is not None and has_new_output(previous), owns_dy[name])
        else:
            fused[name] = _fuse(child, owns_dy[name], need_dx, context)
        need_dx = need_dx or owns_parameters(child)
        previous = None if name in block_names else child
    return FusedSequential(fused, frozenset(groups))


def _frozen_norm(layer: Layer, context: FusionContext) -> BatchNorm | None:
    """Return the BatchNorm if the layer is a frozen BatchNorm, else None."""
    if type(layer) is FrozenLayer:
        layer = layer.layer
    elif context.learns:
        return None
    return layer if type(layer) is BatchNorm else None


def _recomputed_groups(children: Mapping[str, Layer], context: FusionContext) -> dict[str, NormActConv]:
    """Return the replacements of consecutive norm, activation, optional pool and convolution, by the norm's name."""
    # frozen layers have forms of their own, see `_frozen_norm`
    names = list(children) if context.learns else []
    groups = {}
    for index, name in enumerate(names):
        # None for what the sequence lacks at its end
        norm, act, *following = [children[other] for other in names[index : index + 4]] + [None] * 3
        pool, conv = (following[0], following[1]) if type(following[0]) is AvgPool2d else (None, following[0])
        if (
            type(norm) is BatchNorm
            and act is not None
            and type(act) in CHEAP_ACTIVATIONS
            and type(conv) is Conv2d
            and _multiply_adds(conv) >= MIN_RECOMPUTED
        ):
            group_names = tuple(names[index : index + (3 if pool is None else 4)])
            groups[name] = NormActConv(group_names, norm, type(act), pool, _fuse_leaf(conv, True, context))
    return groups


def _multiply_adds(conv: Conv2d) -> float:
    """Return the multiply-adds of a convolution per value of its input."""
    return conv.filters / conv.groups * prod(pair(conv.kernel)) / prod(pair(conv.stride))


def _dense_blocks(
    children: Mapping[str, Layer], owns_dy: Mapping[str, bool], context: FusionContext
) -> dict[str, DenseBlock]:
    """Return the replacements of consecutive layers of a dense block, by the name of the first layer."""

    def fuse_child(layer: Layer) -> Layer:
        return _fuse(layer, True, True, context)

    dense_layers = {name: as_dense_layer(name, child, fuse_child) for name, child in children.items()}
    blocks = {}
    for is_dense, run_names in groupby(dense_layers, key=lambda name: dense_layers[name] is not None):
        names = list(run_names)
        if is_dense:
            block_layers = tuple(layer for name in names if (layer := dense_layers[name]) is not None)
            blocks[names[0]] = DenseBlock(block_layers, owns_dy[names[-1]])
    return blocks
