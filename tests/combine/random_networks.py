"""Strategies of hypothesis for random networks of all layers and combinators, valid according to their `init`."""

import math
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st

from pellucid import layers
from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.layers import Layer
from tests.layers.samples import SAMPLES

Draw = Callable[[st.SearchStrategy[Any]], Any]
Shape = tuple[int, ...]

MAX_VALUES = 240  # values per sample, so that an example takes milliseconds

small_integers = st.integers(1, 4)
sides = st.one_of(small_integers, st.tuples(small_integers, small_integers))
booleans = st.booleans()

LAYER_STRATEGIES: dict[type[Layer], st.SearchStrategy[Layer]] = {
    layers.Dense: st.builds(layers.Dense, small_integers, bias=booleans),
    layers.Conv2d: st.integers(1, 2).flatmap(
        lambda groups: st.builds(
            layers.Conv2d,
            st.sampled_from([groups, 2 * groups, 4]),
            sides,
            stride=st.integers(1, 3),
            padding=st.integers(0, 2),
            dilation=st.integers(1, 2),
            groups=st.just(groups),
            bias=booleans,
        )
    ),
    layers.ConvTranspose2d: st.integers(1, 2).flatmap(
        lambda groups: st.builds(
            layers.ConvTranspose2d,
            st.sampled_from([groups, 2 * groups, 4]),
            sides,
            stride=st.integers(1, 2),
            padding=st.integers(0, 1),
            dilation=st.integers(1, 2),
            groups=st.just(groups),
            bias=booleans,
        )
    ),
    layers.MaxPool2d: st.builds(
        layers.MaxPool2d, st.integers(2, 3), st.integers(1, 3), st.integers(0, 1), st.integers(1, 2), booleans
    ),
    layers.AvgPool2d: st.builds(
        layers.AvgPool2d, st.integers(2, 3), st.integers(1, 3), st.integers(0, 1), booleans, booleans, st.integers(1, 2)
    ),
    layers.LpPool2d: st.builds(
        layers.LpPool2d, sides, st.sampled_from([2.0, 3.0]), st.integers(1, 3), booleans, st.integers(1, 2)
    ),
    layers.AdaptiveAvgPool2d: st.builds(layers.AdaptiveAvgPool2d, sides),
    layers.Pad2d: st.builds(
        layers.Pad2d,
        st.tuples(*[st.integers(-1, 2)] * 4),
        st.sampled_from(["zero", "constant", "reflect", "replicate", "circular"]),
    ),
    layers.PadChannels: st.builds(layers.PadChannels, st.integers(0, 2), st.integers(0, 2)),
    layers.Upsample: st.one_of(
        st.builds(
            layers.Upsample, st.sampled_from([0.5, 1, 1.5, 2]), kind=st.sampled_from(["nearest", "nearest-exact"])
        ),
        st.builds(layers.Upsample, size=sides, kind=st.sampled_from(["bilinear", "bicubic"]), align_corners=booleans),
        st.builds(layers.Upsample, size=sides, kind=st.sampled_from(["bilinear", "bicubic"]), antialias=st.just(True)),
    ),
    layers.Softmax: st.builds(layers.Softmax, st.integers(1, 3)),
    layers.LogSoftmax: st.builds(layers.LogSoftmax, st.integers(1, 3)),
    layers.Dropout: st.builds(layers.Dropout, st.sampled_from([0.0, 0.3])),
    layers.BatchNorm: st.builds(layers.BatchNorm, epsilon=st.just(0.1)),
    layers.InstanceNorm2d: st.builds(layers.InstanceNorm2d, epsilon=st.just(0.1), affine=booleans),
    layers.GroupNorm: st.builds(layers.GroupNorm, st.integers(1, 2), epsilon=st.just(0.1)),
    layers.LayerNorm: st.builds(layers.LayerNorm, epsilon=st.just(0.1)),
    layers.LocalResponseNorm: st.builds(
        layers.LocalResponseNorm, st.integers(1, 4), alpha=st.sampled_from([1e-4, 1.0])
    ),
    layers.LocalContrastNorm: st.builds(layers.LocalContrastNorm, st.sampled_from([3, 5]), epsilon=st.just(0.1)),
}
MERGE_STRATEGIES: dict[type[Layer], st.SearchStrategy[Layer]] = {
    layers.Add: st.builds(layers.Add),
    layers.Concat: st.builds(layers.Concat),
    layers.Crop: st.builds(layers.Crop),
    layers.Multiply: st.builds(layers.Multiply),
}
DRAWN_SEPARATELY = {layers.Reshape, layers.MaxUnpool2d}  # they need a drawn shape, and switches as second input
REGION_POOLING = {layers.RoIAlign, layers.RoIPool}  # their second input is regions, not an image
# The other layers of one input are drawn from the layers of their samples.
LAYER_STRATEGIES |= {
    kind: st.sampled_from([sample.layer for sample in SAMPLES if type(sample.layer) is kind])
    for kind in layers.LAYERS
    if kind not in {*LAYER_STRATEGIES, *DRAWN_SEPARATELY} and layers.Trait.MULTIPLE_INPUTS not in kind.traits
}


def output_shape(layer: Layer, shape: Any) -> Any:
    """Return the output shape, or None if the layer refuses the input or its output exceeds MAX_VALUES."""
    try:
        _, out = layer.init(shape, torch.Generator())
    except PellucidError:
        return None
    return out if isinstance(out[0], tuple) or math.prod(out) <= MAX_VALUES else None


def draw_layer(draw: Draw, shape: Shape) -> tuple[Layer, Shape]:
    """Draw a layer for inputs of this shape; return it with its output shape."""
    if draw(st.integers(0, 9)) == 0:
        return reshape(draw, shape)
    for _ in range(4):
        layer = draw(LAYER_STRATEGIES[draw(st.sampled_from(list(LAYER_STRATEGIES)))])
        out = output_shape(layer, shape)
        if out is not None:
            return layer, out
    return layers.Tanh(), shape


def reshape(draw: Draw, shape: Shape) -> tuple[Layer, Shape]:
    """Draw a Reshape to an image (C, H, W) or a vector."""
    total = math.prod(shape)
    channels = draw(st.sampled_from([n for n in range(1, total + 1) if total % n == 0]))
    n_pixels = total // channels
    height = draw(st.sampled_from([n for n in range(1, n_pixels + 1) if n_pixels % n == 0]))
    out = (channels, height, n_pixels // height) if draw(booleans) else (total,)
    return layers.Reshape(out), out


def draw_sequential(draw: Draw, shape: Shape, depth: int) -> tuple[Layer, Shape]:
    """Draw a Sequential of layers and, if `depth` is positive, of combinators."""
    children = []
    for _ in range(draw(st.integers(1, 3))):
        is_nested = depth and draw(booleans)
        draw_child = (
            draw(st.sampled_from([draw_layer, draw_parallel, draw_fork, draw_graph])) if is_nested else draw_layer
        )
        child, shape = draw_child(draw, shape) if draw_child is draw_layer else draw_child(draw, shape, depth - 1)
        children.append(child)
    return Sequential(*children), shape


def draw_branches(draw: Draw, shape: Shape, depth: int) -> tuple[list[Layer], list[Shape]]:
    """Draw two or three networks for one input, whose outputs have equal shapes."""
    nets = [draw_sequential(draw, shape, depth) for _ in range(draw(st.integers(2, 3)))]
    if draw(booleans):
        nets[0] = layers.Identity(), shape
    target = nets[0][1]
    equal_nets = [(net, out) if out == target else with_output_shape(net, out, target) for net, out in nets]
    return [net for net, _ in equal_nets], [out for _, out in equal_nets]


def with_output_shape(net: Layer, out: Shape, target: Shape) -> tuple[Layer, Shape]:
    """Append layers to a network so that its output has the shape `target`."""
    if len(out) == len(target) == 3:
        return Sequential(net, layers.AdaptiveAvgPool2d(target[1:]), layers.Conv2d(target[0], 1)), target
    units = math.prod(target)
    return Sequential(net, layers.Flatten(), layers.Dense(units), layers.Reshape(target)), target


def draw_merge(draw: Draw, shapes: list[Shape]) -> tuple[Layer, Shape]:
    """Draw a merge layer for inputs of these shapes."""
    layer = draw(MERGE_STRATEGIES[draw(st.sampled_from(list(MERGE_STRATEGIES)))])
    out = output_shape(layer, tuple(shapes))
    return (layer, out) if out is not None else (layers.Add(), shapes[0])


def draw_parallel(draw: Draw, shape: Shape, depth: int) -> tuple[Layer, Shape]:
    """Draw a Parallel of branches with a merge layer."""
    nets, outs = draw_branches(draw, shape, depth)
    merge, out = draw_merge(draw, outs)
    return Parallel(tuple(nets), merge), out


def draw_fork(draw: Draw, shape: Shape, depth: int) -> tuple[Layer, Shape]:
    """Draw a Fork, a Shared layer on its outputs, and a merge layer."""
    nets, outs = draw_branches(draw, shape, depth)
    head, out = draw_layer(draw, outs[0])
    merge, out = draw_merge(draw, [out] * len(outs))
    return Sequential(Fork(*nets), Shared(head), merge), out


def draw_graph(draw: Draw, shape: Shape, depth: int) -> tuple[Layer, Shape]:
    """Draw a Graph whose nodes read any earlier value; some nodes share the layer of an earlier node."""
    shapes: dict[str, Shape] = {"input": shape}
    nodes: dict[str, tuple[Any, ...]] = {}
    for index in range(draw(st.integers(2, 5))):
        name = f"n{index}"
        source = draw(st.sampled_from(list(shapes)))
        same_shape = [other for other in shapes if shapes[other] == shapes[source]]
        repeatable = [
            earlier
            for earlier, node in nodes.items()
            if isinstance(node[0], Layer) and shapes[node[1]] == shapes[source]
        ]
        repeatable = [earlier for earlier in repeatable if len(nodes[earlier]) == 2]
        if len(same_shape) > 1 and draw(booleans):
            sources = [source, draw(st.sampled_from(same_shape))]
            layer, shapes[name] = draw_merge(draw, [shapes[source] for source in sources])
            nodes[name] = (layer, *sources)
        elif repeatable and draw(booleans):
            earlier = draw(st.sampled_from(repeatable))
            nodes[name], shapes[name] = (earlier, source), shapes[earlier]
        else:
            layer, shapes[name] = (
                draw_sequential(draw, shapes[source], 0) if depth else draw_layer(draw, shapes[source])
            )
            nodes[name] = (layer, source)
    return Graph(nodes, (name,)), shapes[name]


def draw_unpooling(draw: Draw, shape: Shape) -> tuple[Layer, tuple[Shape, Shape], Shape]:
    """Draw a Graph that applies MaxUnpool2d to (x, switches) of one shape; return it, its input and output shapes."""
    first_layer = layers.Tanh() if draw(booleans) else layers.Conv2d(shape[0], 3, padding=1)
    nodes = {"first": (first_layer, "x"), "up": (layers.MaxUnpool2d(2), "first", "switches")}
    return Graph(nodes, ("up",), ("x", "switches")), (shape, shape), (shape[0], 2 * shape[1], 2 * shape[2])


@st.composite
def networks(draw: Draw) -> tuple[Layer, Any]:
    """Draw (network, input shape without the batch axis)."""
    image = draw(st.tuples(st.sampled_from([1, 2, 4]), st.integers(2, 7), st.integers(2, 7)))
    kind = draw(st.integers(0, 9))
    if kind == 0:
        unpool, shape, out = draw_unpooling(draw, image)
        head, _ = draw_sequential(draw, out, 1)
        return Sequential(unpool, head), shape
    shape = image if kind < 8 else (draw(st.integers(2, 9)),)
    return draw_sequential(draw, shape, 2)[0], shape
