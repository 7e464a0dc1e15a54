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
from pellucid.operators import UnscaledBatchNorm
from pellucid.operators.norms import with_scale_1

LayerAndParams = tuple[Layer, Params]  # a layer and its parameters after folding


def fold(net: Layer, params: Params) -> LayerAndParams:
    """Return a network equivalent to `net` in evaluation mode, with batch normalization folded, and its params.

    If only batch normalization uses the output of a dense or convolutional layer, the scale and shift are folded into
    that layer, and an Identity replaces the batch normalization, so all paths remain valid. Other normalization layers,
    subclasses of these layers, and the argument `params` are unchanged. Dense layers must have inputs (N, n). A batch
    normalization without a scale gets the scale 1.
    Source: Jacob et al. 2018, section 3.2.
    """
    if isinstance(net, UnscaledBatchNorm):
        return BatchNorm(net.momentum, net.epsilon), with_scale_1(params)
    if not isinstance(net, Combinator):
        return net, params
    layers: dict[str, Layer] = {}
    new_params: Params = {}
    for name, child in net.layers.items():
        layers[name], new_params[name] = fold(child, params[name])
    if type(net) is Sequential:
        for first, second in pairwise(list(layers)):
            _fold_pair(layers, new_params, first, second)
    elif type(net) is Graph:
        for first, second in _exclusive_pairs(net):
            _fold_pair(layers, new_params, first, second)
    return net.rebuild(layers), new_params


def _fold_pair(layers: dict[str, Layer], params: Params, first: str, second: str) -> None:
    """Fold batch normalization at the start of `second` into the last layer of `first`, if both exist."""
    norm_and_params = _first_norm(layers[second], params[second])
    if norm_and_params is not None:
        folded = _fold_into_last_layer(layers[first], params[first], *norm_and_params)
        if folded is not None:
            layers[first], params[first] = folded
            layers[second], params[second] = _without_first_norm(layers[second], params[second])


def _first_norm(layer: Layer, params: Params) -> tuple[BatchNorm, Params] | None:
    """Return the batch normalization at the start of a layer, None if there is none."""
    if type(layer) is Sequential and layer.children:
        name, child = next(iter(layer.children.items()))
        return _first_norm(child, params[name])
    return (layer, params) if type(layer) is BatchNorm else None


def _without_first_norm(layer: Layer, params: Params) -> LayerAndParams:
    """Return the layer with the batch normalization at its start replaced by Identity."""
    if type(layer) is Sequential:
        name, child = next(iter(layer.children.items()))
        new_child, child_params = _without_first_norm(child, params[name])
        return layer.rebuild({**layer.children, name: new_child}), {**params, name: child_params}
    return Identity(), {}


def _fold_into_last_layer(layer: Layer, params: Params, norm: BatchNorm, norm_params: Params) -> LayerAndParams | None:
    """Return the layer with `norm` folded into its last layer, None unless that is dense or convolutional."""
    if type(layer) is Sequential and layer.children:
        name, child = list(layer.children.items())[-1]
        folded = _fold_into_last_layer(child, params[name], norm, norm_params)
        if folded is None:
            return None
        new_child, child_params = folded
        return layer.rebuild({**layer.children, name: new_child}), {**params, name: child_params}
    return _fold_norm(layer, params, norm, norm_params) if type(layer) in (Dense, Conv2d, ConvTranspose2d) else None


def _fold_norm(layer: Layer, params: Params, norm: BatchNorm, norm_params: Params) -> LayerAndParams:
    """Replace w by w s and b by (b - μ) s + β, where s = γ / sqrt(σ² + ε) for each output channel."""
    assert isinstance(layer, Dense | Conv2d | ConvTranspose2d)
    scale = norm_params["weight"] * torch.rsqrt(norm_params["running_var"] + norm.epsilon)  # (C,)
    bias = params["bias"] if layer.bias else torch.zeros_like(scale)
    weight = params["weight"]
    if isinstance(layer, ConvTranspose2d):  # weight: (C in, C out / groups, kH, kW)
        by_group = weight.unflatten(0, (layer.groups, -1)) * scale.view(layer.groups, 1, -1, 1, 1)
        weight = by_group.flatten(0, 1)
    else:
        weight = weight * scale.view(-1, *(1,) * (weight.dim() - 1))
    new_bias = (bias - norm_params["running_mean"]) * scale + norm_params["bias"]
    return replace(layer, bias=True), {"weight": weight, "bias": new_bias}


def _exclusive_pairs(net: Graph) -> list[tuple[str, str]]:
    """Return the pairs (node, the only node that uses its output) of nodes whose layers run once."""
    users: dict[str, list[str]] = {}
    for name, (_, *sources) in net.nodes.items():
        for source in sources:
            users.setdefault(source, []).append(name)
    repeated = {layer for layer, *_ in net.nodes.values() if isinstance(layer, str)}
    single_use = {
        name for name, (layer, *_) in net.nodes.items() if not isinstance(layer, str) and name not in repeated
    }
    return [
        (name, node_users[0])
        for name, node_users in users.items()
        if len(node_users) == 1 and name in single_use and node_users[0] in single_use and name not in net.outputs
    ]
