"""Batch normalization folded into the preceding layer."""

from dataclasses import replace
from itertools import pairwise

import torch

from pellucid.combine.base import Combinator
from pellucid.combine.graph import Graph
from pellucid.combine.sequential import Sequential
from pellucid.layers.base import Layer, Params
from pellucid.layers.batchnorm import BatchNorm
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.convtranspose2d import ConvTranspose2d
from pellucid.layers.dense import Dense
from pellucid.layers.identity import Identity

Folded = tuple[Layer, Params]  # a layer and its parameters after folding


def fold(net: Layer, params: Params) -> Folded:
    """Return a network equivalent to `net` in evaluation mode, with batch normalization folded, and its params.

    If only batch normalization uses the output of a dense or convolutional layer, its scale and shift are folded into
    that layer, and an Identity replaces it, so that all paths remain valid. Other normalization layers, subclasses of
    these layers, and the argument `params` are unchanged. Dense layers are assumed to have inputs (N, n).
    Source: Jacob et al. 2018, section 3.2.
    """
    if not isinstance(net, Combinator):
        return net, params
    layers: dict[str, Layer] = {}
    values: Params = {}
    for name, child in net.layers.items():
        layers[name], values[name] = fold(child, params[name])
    if type(net) is Sequential:
        for first, second in pairwise(list(layers)):
            _fold_pair(layers, values, first, second)
    elif type(net) is Graph:
        for first, second in _pairs(net):
            _fold_pair(layers, values, first, second)
    return net.rebuild(layers), values


def _fold_pair(layers: dict[str, Layer], params: Params, first: str, second: str) -> None:
    """Fold batch normalization at the start of `second` into the last layer of `first`, if there are such layers."""
    found = _first_norm(layers[second], params[second])
    if found is not None:
        merged = _last_weighted(layers[first], params[first], *found)
        if merged is not None:
            layers[first], params[first] = merged
            layers[second], params[second] = _without_first(layers[second], params[second])


def _first_norm(layer: Layer, params: Params) -> tuple[BatchNorm, Params] | None:
    """Return the batch normalization at the start of a layer, None if there is none."""
    if type(layer) is Sequential and layer.children:
        name, child = next(iter(layer.children.items()))
        return _first_norm(child, params[name])
    return (layer, params) if type(layer) is BatchNorm else None


def _without_first(layer: Layer, params: Params) -> Folded:
    """Return the layer with the batch normalization at its start replaced by Identity."""
    if type(layer) is Sequential:
        name, child = next(iter(layer.children.items()))
        new, values = _without_first(child, params[name])
        return layer.rebuild({**layer.children, name: new}), {**params, name: values}
    return Identity(), {}


def _last_weighted(layer: Layer, params: Params, norm: BatchNorm, learned: Params) -> Folded | None:
    """Return the layer with `norm` folded into its last layer, None if that has no weights."""
    if type(layer) is Sequential and layer.children:
        name, child = list(layer.children.items())[-1]
        merged = _last_weighted(child, params[name], norm, learned)
        if merged is None:
            return None
        return layer.rebuild({**layer.children, name: merged[0]}), {**params, name: merged[1]}
    return _merged(layer, params, norm, learned) if type(layer) in (Dense, Conv2d, ConvTranspose2d) else None


def _merged(layer: Layer, params: Params, norm: BatchNorm, learned: Params) -> Folded:
    """Replace w by w s and b by (b - μ) s + β, where s = γ / sqrt(σ² + ε) for each output channel."""
    assert isinstance(layer, Dense | Conv2d | ConvTranspose2d)
    scale = learned["weight"] * torch.rsqrt(learned["running_var"] + norm.epsilon)  # (C,)
    bias = params["bias"] if layer.bias else torch.zeros_like(scale)
    weight = params["weight"]
    if isinstance(layer, ConvTranspose2d):  # (C in, C / groups, kH, kW): each group of inputs has its own outputs
        by_group = weight.unflatten(0, (layer.groups, -1)) * scale.view(layer.groups, 1, -1, 1, 1)
        weight = by_group.flatten(0, 1)
    else:
        weight = weight * scale.view(-1, *(1,) * (weight.dim() - 1))
    shifted = (bias - learned["running_mean"]) * scale + learned["bias"]
    return replace(layer, bias=True), {"weight": weight, "bias": shifted}


def _pairs(net: Graph) -> list[tuple[str, str]]:
    """Return the pairs (node, the only node that uses it) in which both nodes have layers that no other node uses."""
    users: dict[str, list[str]] = {}
    for name, (_, *sources) in net.nodes.items():
        for source in sources:
            users.setdefault(source, []).append(name)
    repeated = {layer for layer, *_ in net.nodes.values() if isinstance(layer, str)}
    once = {name for name, (layer, *_) in net.nodes.items() if not isinstance(layer, str) and name not in repeated}
    return [
        (name, node_users[0])
        for name, node_users in users.items()
        if len(node_users) == 1 and name in once and node_users[0] in once and name not in net.outputs
    ]
